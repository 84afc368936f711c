package main

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/registry-notifications/notifications"
)

// webhook is what an operator has at the other end. It keeps all that comes, as it comes.
type webhook struct {
	url    string
	server *http.Server

	mu    sync.Mutex // guards the rest
	came  []*notifications.Event
	times map[string]int // how often each ID came
	from  map[string]int // how much each worker brought
	trap  *trap
}

// trap holds the answer to one envelope of a worker.
type trap struct {
	worker  string
	caught  chan []*notifications.Event
	release chan struct{}
}

// wait returns the events of the envelope.
func (t *trap) wait(ctx context.Context) ([]*notifications.Event, error) {
	select {
	case events := <-t.caught:
		return events, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func startWebhook() (*webhook, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &webhook{url: "http://" + listener.Addr().String() + "/events", times: make(map[string]int), from: make(map[string]int)}
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
	if t := w.take(envelope.Events, r.Header.Get(workerHeader)); t != nil {
		t.caught <- envelope.Events
		<-t.release
	}
}

// take keeps events, and returns the trap that their worker is in now, if it is.
func (w *webhook) take(events []*notifications.Event, worker string) *trap {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range events {
		w.times[e.ID]++
	}
	w.came = append(w.came, events...)
	w.from[worker] += len(events)
	if w.trap == nil || w.trap.worker != worker {
		return nil
	}
	t := w.trap
	w.trap = nil
	return t
}

// catch holds the answer to the next envelope of a worker, whose events it has by then, until
// the trap's release is closed.
func (w *webhook) catch(worker string) *trap {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trap = &trap{worker: worker, caught: make(chan []*notifications.Event, 1), release: make(chan struct{})}
	return w.trap
}

// received returns all that has come, in the order in which it came.
func (w *webhook) received() []*notifications.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.came[:len(w.came):len(w.came)]
}

// distinct returns how many different events have come, and brought how many a worker has.
func (w *webhook) distinct() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.times)
}

func (w *webhook) brought(worker string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.from[worker]
}

// cameAgain says whether all of these have come more than once.
func (w *webhook) cameAgain(events []*notifications.Event) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range events {
		if w.times[e.ID] < 2 {
			return false
		}
	}
	return true
}

func (w *webhook) close(ctx context.Context) error { return w.server.Shutdown(ctx) }
