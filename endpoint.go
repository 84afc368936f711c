package notifications

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/sirupsen/logrus"
)

// Endpoint delivers events to one webhook: a filter, behind it the retries, behind
// them the HTTP sink. In a hub it is delivered to straight from the hub's log. On
// its own it has a queue in memory in front, and Write does not wait for the
// network.
//
// The filter comes first, so that nothing is done for an event that nobody wants.
// The retries come before the HTTP sink, so that each try is a new request with a
// time-out of its own.
type Endpoint struct {
	name    string
	config  *EndpointConfig // by pointer, as is the target: %+v must not see them
	target  *target
	account *account
	retry   *retryingSink
	chain   Sink // filter → retry → http
	log     *logrus.Entry

	mu     sync.Mutex // guards the rest
	queue  *eventQueue
	closed bool
	closer closer
}

var (
	_ Sink      = (*Endpoint)(nil)
	_ Deliverer = (*Endpoint)(nil)
)

// NewEndpoint returns a running endpoint that posts to url, an http or https URL. A
// user and password in it are sent as basic authentication and shown nowhere. The
// name is what logs and metrics call it. What config has for either must be empty
// or the same.
//
// An error names the field, its value and what is allowed. Nothing has been started
// then. Whoever made an endpoint closes it, or hands it to a hub.
func NewEndpoint(name, url string, config EndpointConfig) (*Endpoint, error) {
	fail := func(err error) (*Endpoint, error) {
		return nil, fmt.Errorf("notifications: endpoint %q: %w", name, err)
	}
	switch {
	case name == "":
		return nil, fmt.Errorf("notifications: endpoint: %w", wrong("name", "empty: allowed is any other"))
	case config.Name != "" && config.Name != name:
		return fail(wrong("name", "%q: allowed is the endpoint's own, or none", config.Name))
	case config.URL != "" && config.URL != url:
		return fail(wrong("url", "%s: allowed is the endpoint's own, or none", redactURL(config.URL)))
	case config.Disabled:
		return fail(wrong("disabled", "true: allowed is false: leave a disabled endpoint out"))
	}

	config.detach()
	config.Name, config.URL = name, url
	config.Logger = orStandardLogger(config.Logger).WithField("endpoint", name)
	e := &Endpoint{name: name, config: &config, account: new(account), log: config.Logger}

	post, err := newHTTPSink(url, config.http(), e.account)
	if err != nil {
		return fail(err)
	}
	if err := config.checkInFlight(); err != nil {
		return fail(err)
	}
	retry := config.retry()
	if err := retry.setDefaults(); err != nil {
		return fail(err)
	}
	queue := config.queue()
	if _, err := queue.limits(); err != nil {
		return fail(err)
	}
	filter := config.filter()
	if _, err := (Rules{MediaTypes: config.IgnoredMediaTypes}).compile(""); err != nil {
		return fail(&ConfigError{Field: "ignoredmediatypes", Err: errors.Unwrap(err)})
	}
	if _, err := filter.compile(); err != nil {
		return fail(err)
	}

	e.target = post.target
	e.retry = newRetryingSink(post, retry)
	behind := Sink(e.retry)
	if config.MaxInFlight > 1 {
		behind = &lanes{retryingSink: e.retry, most: config.MaxInFlight}
	}
	if e.chain, err = NewFilter(behind, filter); err != nil {
		return fail(err)
	}
	post.door.enclosed, e.retry.door.enclosed = true, e.chain != behind
	post.warn(e.log)
	published.add(e)
	e.log.WithField("url", e.target.String()).Debug("notifications: endpoint runs")
	return e, nil
}

// Name returns the endpoint's name.
func (e *Endpoint) Name() string { return e.name }

func (e *Endpoint) String() string { return fmt.Sprintf("endpoint %q at %s", e.name, e.target) }

// Write puts the events into the endpoint's queue and returns.
func (e *Endpoint) Write(ctx context.Context, events ...*Event) error {
	q, err := e.queued()
	if err == nil {
		err = q.Write(ctx, events...)
	}
	if err != nil && !errors.Is(err, ErrFull) { // which the queue has counted
		e.account.reject(len(events))
	}
	return err
}

// queued returns the queue, which an endpoint has only if it is written to.
func (e *Endpoint) queued() (*eventQueue, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrSinkClosed
	}
	if e.queue == nil {
		q, err := newQueue(e.name, &queuedEndpoint{e.chain, e.account}, e.config.queue())
		if err != nil {
			return nil, err
		}
		e.queue = q
	}
	return e.queue, nil
}

// joins is told of the dead letters of a hub, which are used where the configuration has
// none; nil if the hub has none either.
func (e *Endpoint) joins(hubs DeadLetterSink) {
	if e.config.DeadLetters != nil || hubs == nil {
		hubs = e.retry.config.DeadLetters
	}
	e.retry.setDeadLetters(hubs)
}

// limits are what the endpoint may have pending in memory.
func (e *Endpoint) limits() limits {
	queue := e.config.queue()
	own, _ := queue.limits() // was checked when the endpoint was made
	return own
}

// queuedEndpoint is what stands at the end of an endpoint's own queue.
type queuedEndpoint struct {
	Sink
	account *account
}

// Deliver posts one envelope with as many of the events as fit, or MaxInFlight of them,
// again and again until the receiver has accepted it or ctx ends. It does not use the queue.
func (e *Endpoint) Deliver(ctx context.Context, events ...*Event) (settled int, err error) {
	e.mu.Lock()
	closed := e.closed
	e.mu.Unlock()
	if closed {
		return 0, ErrSinkClosed
	}
	out, err := deliver(ctx, e.chain, events)
	e.account.direct(out)
	return out.settled(), err
}

// Pause stops the deliveries until Resume, and keeps what there is. What is under way
// is finished.
func (e *Endpoint) Pause() { e.retry.gate.pause() }

// Resume lets the endpoint go on at once, whether it was paused, had stopped because
// its receiver was gone, or was waiting.
func (e *Endpoint) Resume() { e.retry.gate.resume() }

// Metrics returns the endpoint's counts and state.
func (e *Endpoint) Metrics() EndpointMetrics {
	m := e.account.endpointMetrics()
	m.State = e.retry.gate.current()
	return m
}

// Close stops intake, delivers what is in the endpoint's queue until ctx ends, and
// closes its connections. The error is an *UndeliveredError if events were lost.
func (e *Endpoint) Close(ctx context.Context) error {
	return e.closer.close(ctx, func() error {
		e.mu.Lock()
		e.closed = true
		q := e.queue
		e.mu.Unlock()

		defer published.remove(e)
		e.log.Debug("notifications: endpoint closes")
		if q != nil {
			return q.Close(ctx)
		}
		return e.chain.Close(ctx)
	})
}
