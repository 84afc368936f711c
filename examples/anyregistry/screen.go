package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/registry-notifications/notifications"
)

// screen is a sink that prints each event on a line of its own.
type screen struct {
	mu     sync.Mutex // guards the rest
	to     io.Writer
	events int // that were printed
	closed bool
}

var _ notifications.Sink = (*screen)(nil)

// Write prints a block of events.
func (s *screen) Write(_ context.Context, events ...*notifications.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return notifications.ErrSinkClosed
	case slices.Contains(events, nil):
		return notifications.ErrNilEvent
	}
	for _, e := range events {
		fmt.Fprintln(s.to, line(e))
	}
	s.events += len(events)
	return nil
}

// Close ends it. Nothing is left: what was written is printed.
func (s *screen) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// print prints lines of the program's own.
func (s *screen) print(lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range lines {
		fmt.Fprintln(s.to, l)
	}
}

// wait waits until so many events were printed. An event may come a little after the
// registry's answer.
func (s *screen) wait(ctx context.Context, events int) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		s.mu.Lock()
		n := s.events
		s.mu.Unlock()
		if n >= events {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d events have come, not %d: %w", n, events, context.Cause(ctx))
		}
	}
}

// line is an event as this program prints it.
func line(e *notifications.Event) string {
	what := e.Target.Repository
	if e.Target.Tag != "" {
		what += ":" + e.Target.Tag
	}
	s := fmt.Sprintf("  %-6s  %-8s  %-18s", e.Action, e.Target.Type, what)
	if e.Target.Digest != "" {
		s += fmt.Sprintf("  %.12s", e.Target.Digest.Encoded())
	}
	if e.Target.Size > 0 {
		s += fmt.Sprintf("  %4d bytes  %s", e.Target.Size, e.Target.MediaType)
	}
	return strings.TrimRight(s, " ")
}
