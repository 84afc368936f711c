package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// watch looks at the stream from outside of all instances.
func (d *demonstration) watch(ctx context.Context) (err error) {
	if d.watcher, err = newLink(d.cluster, "watcher"); err != nil {
		return err
	}
	js, err := jetstream.New(d.watcher.conn)
	if err != nil {
		return err
	}
	d.stream, err = js.Stream(ctx, stream)
	return err
}

// last returns the last position of the stream.
func (d *demonstration) last(ctx context.Context) (uint64, error) {
	info, err := d.stream.Info(ctx)
	if err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

// inStep says whether every server has all of the stream.
func (d *demonstration) inStep(ctx context.Context) bool {
	info, err := d.stream.Info(ctx)
	if err != nil || info.Cluster == nil || info.Cluster.Leader == "" {
		return false // is asked again
	}
	n := 1
	for _, r := range info.Cluster.Replicas {
		if r.Current && !r.Offline {
			n++
		}
	}
	return n == servers
}

// mark waits until everything that is in the stream now is acknowledged, and notes that.
// Nothing of it may come again, whatever is killed from then on.
func (d *demonstration) mark(ctx context.Context) error {
	last, err := d.last(ctx)
	if err != nil {
		return err
	}
	var missing error
	err = until(ctx, fmt.Sprintf("everything up to position %d is acknowledged", last), func() bool {
		missing = d.unacknowledged(ctx, last)
		return missing == nil
	})
	if err != nil {
		return errors.Join(err, missing)
	}
	d.marks = append(d.marks, mark{came: len(d.webhook.received()), acknowledged: last})
	return nil
}

// unacknowledged says which consumers have not acknowledged everything up to a position.
func (d *demonstration) unacknowledged(ctx context.Context, position uint64) error {
	var missing []error
	n := 0
	all := d.stream.ListConsumers(ctx)
	for c := range all.Info() { // to the end, for which the one who lists them waits
		n++
		nothingLeft := c.NumPending == 0 && c.NumAckPending == 0
		if !nothingLeft && c.AckFloor.Stream < position {
			missing = append(missing, fmt.Errorf("%s: acknowledged is %d, given %d, and %d come behind that",
				c.Name, c.AckFloor.Stream, c.Delivered.Stream, c.NumPending))
		}
	}
	if n != partitions {
		missing = append(missing, fmt.Errorf("the servers know of %d consumers", n))
	}
	return errors.Join(append(missing, all.Err())...)
}
