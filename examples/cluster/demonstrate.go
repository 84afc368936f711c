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

	"github.com/registry-notifications/notifications"
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

// repositories are of two partitions and more.
var repositories = []string{"library/app", "library/db", "team/api", "team/tools/lint", "team/web", "vendor/base"}

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

// faults kills one thing after the other.
func (d *demonstration) faults(ctx context.Context) error {
	if err := d.flows(ctx); err != nil {
		return err
	}
	for _, fault := range []func(context.Context) error{d.killLeader, d.cutRegistry, d.killWorker, d.killRegistry} {
		if err := d.mark(ctx); err != nil {
			return err
		}
		if err := d.flows(ctx); err != nil {
			return err
		}
		if err := fault(ctx); err != nil {
			return err
		}
		if err := d.flows(ctx); err != nil {
			return err
		}
		d.tell("events flow: %d have come", d.webhook.distinct())
	}
	return nil
}

// flows waits until events come through all workers.
func (d *demonstration) flows(ctx context.Context) error {
	const some = 8
	had := make(map[string]int)
	for _, w := range d.workers {
		had[w.name] = d.webhook.brought(w.name)
	}
	return until(ctx, "all workers deliver", func() bool {
		for _, w := range d.workers {
			if w.killed == nil && d.webhook.brought(w.name) < had[w.name]+some {
				return false
			}
		}
		return true
	})
}

// killLeader kills the server that leads the stream, and starts it again when another does.
func (d *demonstration) killLeader(ctx context.Context) error {
	was := d.cluster.Leader(stream)
	if was < 0 {
		return errors.New("no server leads the stream")
	}
	d.tell("kill: server n%d, which leads the stream", was)
	d.cluster.Kill(was)
	err := until(ctx, "the stream has another leader", func() bool { return d.cluster.Leader(stream) >= 0 })
	if err != nil {
		return err
	}
	d.tell("server n%d leads the stream", d.cluster.Leader(stream))
	if err := d.flows(ctx); err != nil {
		return err
	}
	if err := d.cluster.Restart(was); err != nil {
		return err
	}
	d.tell("server n%d is started again", was)
	if err := until(ctx, "all servers have all of the stream", func() bool { return d.inStep(ctx) }); err != nil {
		return err
	}
	d.tell("it has what it had missed")
	return nil
}

// cutRegistry takes the network from a registry. What its clients do meanwhile is kept in its
// directory.
func (d *demonstration) cutRegistry(ctx context.Context) error {
	r := d.registries[0]
	r.cut(true)
	d.tell("cut: %s does not reach the servers any more", r.name)
	if err := until(ctx, "clients push there", func() bool { return r.spilled() >= 50 }); err != nil {
		return err
	}
	d.tell("%s has %d events in its spill; its clients notice nothing", r.name, r.spilled())
	r.cut(false)
	if err := until(ctx, "the spill is empty", func() bool { return r.spilled() == 0 }); err != nil {
		return err
	}
	d.tell("%s reaches them again, and its spill is empty", r.name)
	return nil
}

// killWorker kills a worker when the webhook has events of which it has told nobody.
func (d *demonstration) killWorker(ctx context.Context) error {
	w := d.workers[0]
	events, release, err := d.catch(ctx, w)
	if err != nil {
		return err
	}
	// What it had delivered before is acknowledged: nothing of that is to come again.
	err = w.conn.FlushTimeout(10 * time.Second)
	w.cut(true)
	release()
	w.kill()
	d.tell("kill: %s, which has delivered %d events and acknowledged none of them", w.name, len(events))
	if err != nil {
		return err
	}
	if err := d.startWorker(ctx, len(d.workers)+1); err != nil {
		return err
	}
	d.tell("%s starts in its place", d.workers[len(d.workers)-1].name)
	err = until(ctx, "what was not acknowledged comes again", func() bool { return d.webhook.cameAgain(events) })
	if err != nil {
		return err
	}
	d.tell("what it had not acknowledged has come again, with the same IDs")
	return nil
}

// catch returns an envelope of a worker that the webhook has, and does not answer until it is
// released.
func (d *demonstration) catch(ctx context.Context, w *worker) (events []*notifications.Event, release func(), err error) {
	// While it holds a first one, more gather for the next.
	first := d.webhook.catch(w.name)
	_, err = first.wait(ctx)
	if err == nil {
		had := d.accepted()
		err = until(ctx, "more is pushed", func() bool { return d.accepted() >= had+20 })
	}
	next := d.webhook.catch(w.name)
	close(first.release)
	if err == nil {
		events, err = next.wait(ctx)
	}
	release = sync.OnceFunc(func() { close(next.release) })
	if err != nil {
		release()
	}
	return events, release, err
}

// accepted returns how many events the registries' hubs have.
func (d *demonstration) accepted() (n int) {
	for _, r := range d.registries {
		n += len(r.intake.accepted())
	}
	return n
}

// killRegistry kills a registry when its clients have had their answers.
func (d *demonstration) killRegistry(ctx context.Context) error {
	r := d.registries[len(d.registries)-1]
	r.drain()
	if err := r.stop(ctx); err != nil {
		return err
	}
	// What it might have in its spill would come when it is started again.
	if err := until(ctx, "its spill is empty", func() bool { return r.spilled() == 0 }); err != nil {
		return err
	}
	r.kill()
	r.killed = true
	d.tell("kill: %s, which had answered its clients; they go to the others", r.name)
	return nil
}

// settle waits until everything has come, and says what became of it.
func (d *demonstration) settle(ctx context.Context) error {
	pushes, pulls, accepted := 0, 0, d.accepted()
	for _, c := range d.clients {
		pushes += len(c.pushed)
		pulls += c.pulls
	}
	d.tell("the clients have done %d pushes and %d pulls, and every one succeeded", pushes, pulls)
	settled := until(ctx, "everything is delivered", func() bool {
		pending := uint64(0)
		for _, w := range d.workers {
			if w.killed == nil {
				pending += w.metrics().Pending
			}
		}
		return pending == 0 && d.webhook.distinct() >= accepted
	})
	a, err := d.audit(ctx)
	if err != nil {
		return errors.Join(settled, err)
	}
	d.printAccounts(a.accounts())
	d.printWorkers(d.workers, d.webhook)
	d.print("")
	if err := errors.Join(settled, a.check(), d.checkCounts()); err != nil {
		return err
	}
	d.print("Nothing is lost, each repository is in order, and nothing came twice but what was in flight at a kill.")
	return nil
}

// audit collects what is to be compared.
func (d *demonstration) audit(ctx context.Context) (*audit, error) {
	a := &audit{accepted: make(map[string][]string), pushed: make(map[string][]string), came: d.webhook.received(), marks: d.marks}
	for _, r := range d.registries {
		a.registries = append(a.registries, r.name)
		a.accepted[r.name] = r.intake.accepted()
	}
	for _, c := range d.clients {
		a.pushed[c.repository] = c.pushed
	}
	hub := d.registries[0].hub
	last, err := d.last(ctx)
	for after := uint64(0); err == nil && after < last; {
		var records []notifications.Record
		records, err = hub.Read(ctx, after, 0)
		if len(records) > 0 {
			after = records[len(records)-1].Position
		}
		a.stream = append(a.stream, records...)
	}
	return a, err
}

// checkCounts says what does not agree in the counts of registries and workers.
func (d *demonstration) checkCounts() error {
	var errs []error
	for _, r := range d.registries {
		if n := r.bridge.Rejected(); n > 0 {
			errs = append(errs, fmt.Errorf("%s: %d events were not accepted", r.name, n))
		}
	}
	for _, w := range d.workers {
		if m := w.metrics(); !addsUp(m) {
			errs = append(errs, fmt.Errorf("%s: the counts do not add up: %+v", w.name, m))
		}
	}
	return errors.Join(errs...)
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

var errTooLong = errors.New("was not so after 40 seconds")

// until waits until something is so.
func until(ctx context.Context, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 40*time.Second, errTooLong)
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
