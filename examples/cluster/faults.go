package main

import (
	"context"
	"errors"
	"sync"

	"github.com/registry-notifications/notifications"
)

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

// flows waits until some events have come through each worker.
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
	leader := -1
	err := until(ctx, "the stream has another leader", func() bool {
		leader = d.cluster.Leader(stream)
		return leader >= 0
	})
	if err != nil {
		return err
	}
	d.tell("server n%d leads the stream", leader)
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
	d.tell("%s has %d events in its spill, and its clients go on", r.name, r.spilled())
	r.cut(false)
	if err := until(ctx, "the spill is empty", func() bool { return r.spilled() == 0 }); err != nil {
		return err
	}
	d.tell("%s reaches them again, and its spill is empty", r.name)
	return nil
}

// killWorker kills a worker when the webhook has events that it has not acknowledged yet.
func (d *demonstration) killWorker(ctx context.Context) error {
	w := d.workers[0]
	events, release, err := d.catch(ctx, w)
	if err != nil {
		return err
	}
	w.cut(true)
	release() // it may think that it has acknowledged them, but nobody hears that
	w.kill()
	d.tell("kill: %s, which has delivered %d events and acknowledged none of them", w.name, len(events))
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
