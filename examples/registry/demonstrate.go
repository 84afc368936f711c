package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/registry-notifications/notifications/examples/internal/scenario"
)

var errTooLong = errors.New("was not done after a minute")

// demonstrate runs a client against a registry and compares what the webhooks get
// with what they should.
func demonstrate(ctx context.Context, out *printer, h hub, healthy, recovering *webhook) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errTooLong)
	defer cancel()
	r, err := startRegistry("127.0.0.1:0", h)
	if err != nil {
		return err
	}
	defer ends(&err, r.close)
	// As below, only for the looks of it.
	waitUntil(ctx, 5*time.Second, func() bool { return len(healthy.received()) >= healthy.left })
	if healthy.left > 0 {
		out.print("")
	}
	out.print(
		"A registry at "+r.host+" tells two webhooks.",
		fmt.Sprintf("One is healthy. The other refuses for %v, and then has to catch up.", recovering.refuses),
	)

	client, err := scenario.New(r.host)
	if err != nil {
		return err
	}
	defer client.Close()
	c := &comparison{instance: r.instance, webhooks: []*webhook{healthy, recovering}}
	for _, step := range client.Image() {
		out.print("", step.Name)
		if err := step.Do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.Name, err)
		}
		c.want = append(c.want, step.Want...)
		// Only for the looks of it: so the events stand below their step.
		waitUntil(ctx, 5*time.Second, func() bool { return len(healthy.received()) >= healthy.left+len(c.want) })
	}

	// A webhook has an event a little before the registry knows that it has.
	var metrics []endpointMetrics
	all := waitUntil(ctx, 20*time.Second, func() bool {
		metrics, err = readMetrics(healthy.name, recovering.name)
		return err != nil || metrics[0].settled(healthy.left+len(c.want)) && metrics[1].settled(recovering.left+len(c.want))
	})
	if err != nil {
		return err
	}
	out.table("Expected, and what came:", c.table())
	out.table("Metrics:", metricsTable(metrics))

	if err := c.check(); err != nil {
		return err
	}
	if !all {
		return errors.Join(errors.New("the metrics do not agree with what was expected"), context.Cause(ctx))
	}
	out.print("", fmt.Sprintf("All %d events came to both, in the same order.", len(c.want)))
	if healthy.left+recovering.left > 0 {
		out.print(fmt.Sprintf("So did what an earlier run had left: %d to healthy, %d to recovering.", healthy.left, recovering.left))
	}
	return nil
}

// waitUntil waits until done, and says whether it was before the time was over.
func waitUntil(ctx context.Context, d time.Duration, done func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return done()
		}
	}
	return true
}
