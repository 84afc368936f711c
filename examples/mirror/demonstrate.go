package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/sirupsen/logrus"
)

var (
	errTooLong = errors.New("was not done after a minute, and one more for each kill")
	errDiffer  = errors.New("the two registries differ")
)

// demonstration is a client, both sides, and the registry that is kept in step.
type demonstration struct {
	*printer
	source, mirror *side
	target         name.Registry
	client         *client
	failed         context.CancelCauseFunc
}

// demonstrate has a client work while the sides are killed, and compares what the
// registries have in the end.
func demonstrate(ctx context.Context, out *printer, kills int) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(kills+1)*time.Minute, errTooLong)
	defer cancel()
	ctx, failed := context.WithCancelCause(ctx)
	defer failed(nil)

	// The target is a server that runs all the time, and of which the mirror knows only where
	// it is. It has its say about each request in the log, and nobody wants to hear that.
	logrus.SetOutput(io.Discard)
	defer logrus.SetOutput(os.Stderr)
	dir, err := os.MkdirTemp("", "mirror-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	registry, err := newRegistry(filepath.Join(dir, "target"))
	if err != nil {
		return err
	}
	defer ends(&err, registry.close)
	server, err := serve("127.0.0.1:0", registry)
	if err != nil {
		return err
	}
	defer ends(&err, server.Shutdown)

	d := &demonstration{printer: out, failed: failed}
	if err := d.prepare(dir, server.Addr); err != nil {
		return err
	}
	defer d.client.transport.CloseIdleConnections()
	defer ends(&err, d.mirror.stop)
	defer ends(&err, d.source.stop)
	return d.run(ctx, kills)
}

// prepare puts together what is not started yet.
func (d *demonstration) prepare(dir, target string) (err error) {
	if d.target, err = name.NewRegistry(target, name.Insecure); err != nil {
		return err
	}
	var addrs [2]string
	for i := range addrs {
		if addrs[i], err = freeAddr(); err != nil {
			return err
		}
	}
	if d.client, err = newClient(addrs[0]); err != nil {
		return err
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	environment := append(os.Environ(), keyVariable+"=whsec_"+base64.StdEncoding.EncodeToString(secret))
	d.source = &side{name: sourceSide, addr: addrs[0], environment: environment, out: d.printer, args: []string{
		"-addr", addrs[0], "-webhook", "http://" + addrs[1] + "/events",
	}}
	d.mirror = &side{name: mirrorSide, addr: addrs[1], environment: environment, out: d.printer, args: []string{
		"-addr", addrs[1], "-source", addrs[0], "-target", target, "-terminal=" + strconv.FormatBool(d.terminal),
	}}
	for _, s := range []*side{d.source, d.mirror} {
		own := filepath.Join(dir, s.name)
		if err := os.Mkdir(own, 0o700); err != nil {
			return err
		}
		s.args = append(s.args, "-dir", own)
	}
	return nil
}

// freeAddr returns an address on which nobody listens. It is none of those that the system
// gives to connections: both sides come back to theirs after they were killed.
func freeAddr() (string, error) {
	for {
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(20000+mathrand.IntN(10000)))
		if err == nil {
			return l.Addr().String(), l.Close()
		}
		if errors.Is(err, os.ErrPermission) {
			return "", err
		}
	}
}

func (d *demonstration) run(ctx context.Context, kills int) error {
	d.print("The source is at %s. The mirror keeps %s in step with it.", d.source.addr, d.target)
	for _, s := range []*side{d.mirror, d.source} {
		if err := s.start(ctx, d.failed); err != nil {
			return err
		}
	}
	d.print("\nA client pushes and deletes.")
	began := time.Now()
	if err := d.client.work(ctx, 0); err != nil {
		return err
	}
	took := time.Since(began)

	for n := range kills {
		if err := d.kill(ctx, d.mirror, 2*n+1, took); err != nil {
			return err
		}
		if err := d.kill(ctx, d.source, 2*n+2, took); err != nil {
			return err
		}
	}
	if err := d.settle(ctx); err != nil {
		return err
	}
	d.print("\nThe client has done %d pushes and %d deletes. %d times it got no answer, and tried again.",
		d.client.pushes, d.client.deletes, d.client.unanswered)
	return d.compare(ctx)
}

// kill kills a side at a random moment while the client works, which usually takes so long,
// and starts it again a while later.
func (d *demonstration) kill(ctx context.Context, s *side, round int, usually time.Duration) error {
	worked := make(chan error, 1)
	go func() { worked <- d.client.work(ctx, round) }()
	began := time.Now()
	pause(ctx, mathrand.N(usually))
	s.kill()
	d.print("\nkill -9 of the %s side, %v after the client went on. It is away.", s.name, time.Since(began).Round(time.Millisecond))
	pause(ctx, mathrand.N(usually))
	d.print("The %s side starts again.", s.name)
	return errors.Join(s.start(ctx, d.failed), <-worked)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// settle waits until everything that has happened was told and done.
func (d *demonstration) settle(ctx context.Context) error {
	var source sourceStatus
	var mirror mirrorStatus
	err := until(ctx, func() bool {
		source.Pending = 1
		return readStatus(ctx, d.source.addr, &source) == nil && source.Pending == 0
	})
	if err == nil {
		err = until(ctx, func() bool {
			return readStatus(ctx, d.mirror.addr, &mirror) == nil && mirror.Done == mirror.Last
		})
	}
	if err != nil {
		return fmt.Errorf("%w: the source has %d events to tell, and the mirror has done %d of %d", err, source.Pending, mirror.Done, mirror.Last)
	}
	d.print("\nAll is told and done: %d events have come to the mirror side, %d of them a second time since it was started last.",
		mirror.Last, mirror.Duplicates)
	if mirror.Failed > 0 {
		d.print("%d repositories could not be mirrored.", mirror.Failed)
	}
	return nil
}

// compare says whether both registries have the same.
func (d *demonstration) compare(ctx context.Context) error {
	source, err := readCatalogue(ctx, d.client.registry, d.client.pushed, d.client.transport)
	if err != nil {
		return err
	}
	target, err := readCatalogue(ctx, d.target, d.client.pushed, d.client.transport)
	if err != nil {
		return err
	}
	sourceTags, sourceManifests := source.count()
	targetTags, targetManifests := target.count()
	d.print("\n%14s%8s%8s", "", "SOURCE", "MIRROR")
	d.print("%-14s%8d%8d", "repositories", len(source), len(target))
	d.print("%-14s%8d%8d", "tags", sourceTags, targetTags)
	d.print("%-14s%8d%8d\n", "manifests", sourceManifests, targetManifests)
	if lines := differences(source, target); len(lines) > 0 {
		d.print("%s\n", strings.Join(lines, "\n"))
		return errDiffer
	}
	if err := target.readContent(ctx, d.target, d.client.transport); err != nil {
		return err
	}
	d.print("Both have the same, and what the mirror has is whole.")
	return nil
}
