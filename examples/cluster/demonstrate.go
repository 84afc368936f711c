package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications/jetstream/clustertest"
)

// demonstration is all that runs.
type demonstration struct {
	*printer
	dir string
	log *logrus.Entry

	cluster    *clustertest.Cluster
	webhook    *webhook
	registries []*registry
	workers    []*worker // of which some may have been killed
	clients    []*client
	transport  *http.Transport

	watcher *link // sees what the servers say, and is never cut
	stream  jetstream.Stream
	marks   []mark
}

// repositories are of all partitions, so that each worker has something to do.
var repositories = []string{"library/app", "library/db", "team/docs", "team/tools/lint", "team/web", "vendor/base"}

func (d *demonstration) run(ctx context.Context) error {
	if err := d.start(ctx); err != nil {
		return err
	}
	ctx, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	stop := make(chan struct{})
	var all sync.WaitGroup
	for _, c := range d.clients {
		all.Go(func() {
			if err := c.work(ctx, stop); err != nil {
				failed(err) // of the first, for the others and for what waits
			}
		})
	}
	d.tell("%d clients push and pull, each its own repository, by turns through all registries", len(d.clients))
	err := d.faults(ctx)
	close(stop)
	all.Wait()
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	return d.settle(ctx)
}

// start starts everything but the clients.
func (d *demonstration) start(ctx context.Context) (err error) {
	if d.cluster, err = clustertest.Start(servers, nil); err != nil {
		return err
	}
	d.tell("%d servers are a cluster", servers)
	if d.webhook, err = startWebhook(); err != nil {
		return err
	}
	for n := range 2 {
		if err := d.startWorker(ctx, n+1); err != nil {
			return err
		}
	}
	d.tell("%d workers deliver to the webhook at %s", len(d.workers), d.webhook.url)
	for n := range 3 {
		name := fmt.Sprintf("registry-%d", n+1)
		i, err := join(ctx, d.cluster, name, filepath.Join(d.dir, name), d.log)
		if err != nil {
			return err
		}
		r, err := startRegistry(i, filepath.Join(d.dir, "content"))
		if err != nil {
			return errors.Join(err, i.leave(ctx))
		}
		d.registries = append(d.registries, r)
		d.tell("%s is at %s", r.name, r.host)
	}
	d.transport = new(http.Transport)
	for i, repository := range repositories {
		d.clients = append(d.clients, &client{repository: repository, registries: d.registries, transport: d.transport, at: i % len(d.registries)})
	}
	return d.watch(ctx)
}

func (d *demonstration) startWorker(ctx context.Context, number int) error {
	i, err := join(ctx, d.cluster, fmt.Sprintf("worker-%d", number), "", d.log)
	if err != nil {
		return err
	}
	w, err := startWorker(i, d.webhook.url)
	if err != nil {
		return errors.Join(err, i.leave(ctx))
	}
	d.workers = append(d.workers, w)
	return nil
}

// close ends what runs, in the order in which events go.
func (d *demonstration) close(ctx context.Context) error {
	var errs []error
	for _, r := range d.registries {
		if !r.killed {
			errs = append(errs, r.stop(ctx), r.leave(ctx))
		}
	}
	for _, w := range d.workers {
		if w.killed == nil {
			errs = append(errs, w.leave(ctx))
		}
	}
	if d.webhook != nil {
		errs = append(errs, d.webhook.close(ctx))
	}
	if d.transport != nil {
		d.transport.CloseIdleConnections()
	}
	if d.watcher != nil {
		d.watcher.close()
	}
	if d.cluster != nil {
		d.cluster.Stop()
	}
	return errors.Join(errs...)
}

var errTooLong = errors.New("was not so after a minute")

// until waits until something is so.
func until(ctx context.Context, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errTooLong)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, context.Cause(ctx))
		}
	}
	return nil
}
