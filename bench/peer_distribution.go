package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"sync/atomic"

	theirs "github.com/distribution/distribution/v3/notifications"
	events "github.com/docker/go-events"
)

const distribution = "distribution"

// theirHub is a broadcaster with endpoints, put together as distribution's server
// does it.
type theirHub struct {
	*events.Broadcaster
	endpoints []*theirs.Endpoint
	to        *receiver
	maker     *maker

	transport *http.Transport // nil: the one that a server uses
	dying     atomic.Bool
	gone      atomic.Int64 // endpoints that have ended
}

var _ system = (*theirHub)(nil)

func startTheirs(s setup) (system, error) { return newTheirHub(s) }

func newTheirHub(s setup) (*theirHub, error) {
	r, err := newReceiver(s.conduct, s.dead)
	if err != nil {
		return nil, err
	}
	t := &theirHub{to: r, maker: newMaker()}
	t.maker.unshared = s.unshared

	var config theirs.EndpointConfig
	if s.dead {
		t.transport = &http.Transport{Proxy: t.exit}
		config.Timeout, config.Transport = patience, t.transport
	}
	var sinks []events.Sink
	for i := range s.endpoints {
		e := theirs.NewEndpoint(strconv.Itoa(i), r.url, config)
		t.endpoints = append(t.endpoints, e)
		sinks = append(sinks, e)
	}
	t.Broadcaster = events.NewBroadcaster(sinks...)
	if s.dead {
		return t, hang(t)
	}
	return t, nil
}

func (t *theirHub) prepare(n int) func(int) error {
	// By value, as its bridge does.
	return prepared(n, t.maker.theirs, func(e *theirs.Event) error { return t.Write(*e) })
}

func (t *theirHub) delivered() (n int) {
	for _, e := range t.endpoints {
		var m theirs.EndpointMetrics
		e.ReadMetrics(&m)
		n += m.Successes
	}
	return n
}

func (t *theirHub) fanout() int         { return len(t.endpoints) }
func (t *theirHub) receiver() *receiver { return t.to }

func (t *theirHub) stop() error {
	var errs []error
	if t.transport != nil {
		errs = append(errs, t.giveUp())
	}
	errs = append(errs, t.Close())
	for _, e := range t.endpoints {
		e.Sink = nil // its package keeps the endpoint for ever
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	return errors.Join(append(errs, t.to.close())...)
}

// giveUp ends the endpoints with what they have pending, which they cannot do
// themselves: they end only when all is delivered.
func (t *theirHub) giveUp() error {
	t.dying.Store(true)
	if err := t.prepare(1)(0); err != nil { // or one with nothing to do would not notice
		return err
	}
	t.to.open()
	if err := until(func() bool { return int(t.gone.Load()) == len(t.endpoints) }); err != nil {
		return fmt.Errorf("giving up: %w", err)
	}
	for _, e := range t.endpoints {
		if err := t.Remove(e); err != nil { // Close would wait for it
			return err
		}
	}
	t.transport.CloseIdleConnections()
	return nil
}

// exit ends the endpoint's goroutine, which asks for a proxy before each POST.
func (t *theirHub) exit(*http.Request) (*url.URL, error) {
	if t.dying.Load() {
		t.gone.Add(1)
		runtime.Goexit()
	}
	return nil, nil
}
