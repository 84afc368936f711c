package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/registry-notifications/notifications"
)

// webhook is what an operator has at the other end. It prints each event on a line of
// its own.
type webhook struct {
	addr   string
	server *http.Server

	mu      sync.Mutex // guards the rest
	to      io.Writer
	refuses bool
	refused int             // envelopes
	seen    map[string]bool // the IDs that have come: an event may come twice
}

func startWebhook(to io.Writer) (*webhook, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &webhook{addr: listener.Addr().String(), to: to, seen: make(map[string]bool)}
	w.server = &http.Server{Handler: w, ReadHeaderTimeout: 10 * time.Second}
	go w.server.Serve(listener)
	return w, nil
}

func (w *webhook) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	envelope, err := notifications.DecodeEnvelope(r.Header.Get("Content-Type"), r.Body, 0)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuses {
		w.refused++
		http.Error(rw, "come back later", http.StatusServiceUnavailable)
		return
	}
	for _, e := range envelope.Events {
		if !w.seen[e.ID] {
			w.seen[e.ID] = true
			fmt.Fprintln(w.to, line(e))
		}
	}
}

// refuse makes the webhook refuse all that comes, or take it again.
func (w *webhook) refuse(refuses bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuses = refuses
}

// print prints lines of the program's own.
func (w *webhook) print(lines ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range lines {
		fmt.Fprintln(w.to, l)
	}
}

// wait waits until so many events have come.
func (w *webhook) wait(ctx context.Context, events int) error {
	return w.until(ctx, func() error {
		if len(w.seen) < events {
			return fmt.Errorf("%d events have come, not %d", len(w.seen), events)
		}
		return nil
	})
}

// waitRefused waits until something was refused.
func (w *webhook) waitRefused(ctx context.Context) error {
	return w.until(ctx, func() error {
		if w.refused == 0 {
			return errors.New("nothing has come")
		}
		return nil
	})
}

// until waits until ok, which is called with the lock held, returns no error.
func (w *webhook) until(ctx context.Context, ok func() error) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		w.mu.Lock()
		err := ok()
		w.mu.Unlock()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

// line is an event as this program prints it.
func line(e *notifications.Event) string {
	what := e.Target.Repository
	if e.Target.Tag != "" {
		what += ":" + e.Target.Tag
	}
	if e.Target.FromRepository != "" {
		what += " <- " + e.Target.FromRepository
	}
	s := fmt.Sprintf("  %-6s  %-8s  %-27s", e.Action, e.Target.Type, what)
	if e.Target.Digest != "" {
		s += fmt.Sprintf("  %.12s", e.Target.Digest.Encoded())
	}
	if e.Target.Size > 0 {
		s += fmt.Sprintf("  %4d bytes", e.Target.Size)
	}
	return strings.TrimRight(s, " ")
}
