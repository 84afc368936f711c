package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/registry-notifications/notifications"
)

// settle waits until everything has come, and says what became of it.
func (d *demonstration) settle(ctx context.Context) error {
	pushes, pulls, accepted := 0, 0, d.accepted()
	for _, c := range d.clients {
		pushes += len(c.pushed)
		pulls += c.pulls
	}
	d.tell("the clients have done %d pushes and %d pulls, and every one succeeded", pushes, pulls)
	settled := until(ctx, "everything is delivered", func() bool {
		return d.webhook.distinct() >= accepted && d.pending() == 0
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

// pending returns how many events the workers have still to settle.
func (d *demonstration) pending() (n uint64) {
	for _, w := range d.workers {
		if w.killed == nil {
			n += w.metrics().Pending
		}
	}
	return n
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
