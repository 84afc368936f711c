package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/registry-notifications/notifications"
)

// webhook is what an operator has at the other end: an HTTP server that gets
// envelopes of events.
type webhook struct {
	name    string
	url     string
	refuses time.Duration              // how long it does, at first
	opens   time.Time                  // when it does not any more
	arrived func(*notifications.Event) // is called for each event, one at a time
	left    int                        // what the hub had for it at the start
	server  *http.Server

	mu     sync.Mutex // guards the rest
	events []*notifications.Event
	seen   map[string]bool
}

func startWebhook(name string, refuse time.Duration, arrived func(*notifications.Event)) (*webhook, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &webhook{
		name:    name,
		url:     "http://" + listener.Addr().String() + "/events",
		refuses: refuse,
		opens:   time.Now().Add(refuse),
		arrived: arrived,
		seen:    make(map[string]bool),
	}
	w.server = &http.Server{Handler: w, ReadHeaderTimeout: 10 * time.Second}
	go w.server.Serve(listener)
	return w, nil
}

func (w *webhook) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if time.Now().Before(w.opens) {
		http.Error(rw, "not yet", http.StatusServiceUnavailable)
		return
	}
	envelope, err := notifications.DecodeEnvelope(r.Header.Get("Content-Type"), r.Body, 0)
	switch {
	case errors.Is(err, notifications.ErrMediaType):
		http.Error(rw, err.Error(), http.StatusUnsupportedMediaType)
		return
	case err != nil:
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range envelope.Events {
		if w.seen[e.ID] {
			continue // delivery is at least once
		}
		w.seen[e.ID] = true
		w.events = append(w.events, e)
		w.arrived(e)
	}
}

// received returns what has come, in the order in which it came.
func (w *webhook) received() []*notifications.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events[:len(w.events):len(w.events)]
}

func (w *webhook) close(ctx context.Context) error { return w.server.Shutdown(ctx) }
