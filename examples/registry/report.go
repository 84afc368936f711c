package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/examples/internal/scenario"
)

// line is an event as this program prints it.
func line(e *notifications.Event) string {
	t := e.Target
	what := t.Repository
	if t.Tag != "" {
		what += ":" + t.Tag
	}
	if t.FromRepository != "" {
		what += " <- " + t.FromRepository
	}
	s := fmt.Sprintf("  %-6s  %-8s  %-27s", e.Action, t.Type, what)
	if t.Digest != "" {
		s += fmt.Sprintf("  %.12s", t.Digest.Encoded())
	}
	if t.Size > 0 {
		s += fmt.Sprintf("  %4d bytes", t.Size)
	}
	return strings.TrimRight(s, " ")
}

// comparison is what was expected of a run, and what came to each webhook.
type comparison struct {
	instance string // that of the run, in its events
	want     []scenario.Event
	webhooks []*webhook
}

// came returns the events of this run that have come to a webhook, and how many came of
// those that an earlier run had left.
func (c *comparison) came(w *webhook) (events []*notifications.Event, left int) {
	for _, e := range w.received() {
		if e.Source.InstanceID == c.instance {
			events = append(events, e)
		} else {
			left++
		}
	}
	return events, left
}

var actions = []string{
	notifications.ActionPush, notifications.ActionPull, notifications.ActionMount, notifications.ActionDelete,
}

// table counts by action and type.
func (c *comparison) table() [][]string {
	type kind struct{ action, of string }
	head := []string{"ACTION", "TYPE", "EXPECTED"}
	counts := make(map[kind][]int)
	count := func(column int, e scenario.Event) {
		k := kind{e.Action, e.Type}
		if counts[k] == nil {
			counts[k] = make([]int, 1+len(c.webhooks))
		}
		counts[k][column]++
	}
	for _, e := range c.want {
		count(0, e)
	}
	total := []string{"total", "", strconv.Itoa(len(c.want))}
	for i, w := range c.webhooks {
		head = append(head, w.name)
		events, _ := c.came(w)
		for _, e := range events {
			count(1+i, scenario.Of(e))
		}
		total = append(total, strconv.Itoa(len(events)))
	}

	var body [][]string
	for k, columns := range counts {
		row := []string{k.action, k.of}
		for _, n := range columns {
			row = append(row, strconv.Itoa(n))
		}
		body = append(body, row)
	}
	slices.SortFunc(body, func(a, b []string) int {
		// By age: first comes the push, last the delete.
		return cmp.Or(slices.Index(actions, a[0])-slices.Index(actions, b[0]), cmp.Compare(a[1], b[1]))
	})
	return append(append([][]string{head}, body...), total)
}

// check compares event by event what the table only counts.
func (c *comparison) check() error {
	var errs []error
	for _, w := range c.webhooks {
		missing := make(map[scenario.Event]int)
		for _, e := range c.want {
			missing[e]++
		}
		events, earlier := c.came(w)
		for _, e := range events {
			missing[scenario.Of(e)]--
		}
		if earlier != w.left {
			errs = append(errs, fmt.Errorf("%s: an earlier run had left %d events: %d came", w.name, w.left, earlier))
		}
		for e, n := range missing {
			switch {
			case n > 0:
				errs = append(errs, fmt.Errorf("%s: %d missing: %+v", w.name, n, e))
			case n < 0:
				errs = append(errs, fmt.Errorf("%s: %d too many: %+v", w.name, -n, e))
			}
		}
	}
	ids := func(w *webhook) []string {
		var ids []string
		events, _ := c.came(w)
		for _, e := range events {
			ids = append(ids, e.ID)
		}
		return ids
	}
	for _, w := range c.webhooks[1:] {
		if !slices.Equal(ids(c.webhooks[0]), ids(w)) {
			errs = append(errs, fmt.Errorf("%s got the events in another order than %s", w.name, c.webhooks[0].name))
		}
	}
	return errors.Join(errs...)
}
