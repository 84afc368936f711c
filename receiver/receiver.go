package receiver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications"
)

// Receiver is the http.Handler to which registries send their events. Its methods may be
// called at once from several goroutines.
type Receiver struct {
	sink        notifications.Sink
	log         *logrus.Entry
	maxBytes    int64
	maxInFlight int
	timeout     time.Duration
	access      *access // by pointer: %+v must not see it
	window      *window // nil: nothing is remembered
	trouble     *trouble
	strangers   *strangers

	mu      sync.Mutex // guards the rest
	metrics Metrics
	serving int           // requests, those that are refused at once included
	idle    chan struct{} // once it closes: closed when nobody is served any more
}

var _ http.Handler = (*Receiver)(nil)

// New returns a Receiver that writes to a sink, which stays the caller's: it is closed
// after the Receiver. The error is a *notifications.ConfigError, or says that the History
// cannot be read.
func New(sink notifications.Sink, config Config) (*Receiver, error) {
	if sink == nil {
		return nil, wrong("sink", "nil: allowed is any other")
	}
	if err := config.setDefaults(); err != nil {
		return nil, err
	}
	access, err := newAccess(&config)
	if err != nil {
		return nil, err
	}
	r := &Receiver{
		sink: sink, log: config.Logger,
		maxBytes: config.MaxBytes, maxInFlight: config.MaxInFlight, timeout: config.Timeout,
		access: access, window: newWindow(config.Window),
		trouble: new(trouble), strangers: new(strangers),
	}
	history := config.History
	if history == nil {
		history, _ = sink.(notifications.Feed)
	}
	if history != nil && r.window != nil {
		if err := r.window.load(context.Background(), history); err != nil {
			return nil, fmt.Errorf("receiver: history: %w", err)
		}
	}
	if access.isOpen() {
		r.log.Warn("receiver: neither keys nor authorization are configured: anybody can send events")
	}
	return r, nil
}

// ServeHTTP takes one envelope. The package documentation has what is answered when.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	a := closing()
	if r.enter() {
		defer r.leave()
		a = r.receive(w, req)
	}
	r.answered(a.code())
	a.write(w)
}

// Close has every request from now on answered by 503, waits until those in progress have
// their answer, and returns nil, or an error when ctx ends before that. Another call
// waits, too. It leaves the sink open.
func (r *Receiver) Close(ctx context.Context) error {
	r.mu.Lock()
	if r.idle == nil {
		r.idle = make(chan struct{})
		if r.serving == 0 {
			close(r.idle)
		}
	}
	r.mu.Unlock()

	select {
	case <-r.idle:
		return nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.serving == 0 {
		return nil
	}
	return fmt.Errorf("receiver: closing: %d requests still in progress: %w", r.serving, context.Cause(ctx))
}

func (r *Receiver) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.idle != nil {
		return false
	}
	r.serving++
	return true
}

func (r *Receiver) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serving--
	if r.serving == 0 && r.idle != nil {
		close(r.idle)
	}
}

// admit is asked before memory is taken for a request. A quarter is kept for those who are
// known by their headers: whoever writes a signature that is none gets a place all the same,
// until its body is there.
func (r *Receiver) admit(known bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	limit := r.maxInFlight
	if !known {
		limit -= limit / 4
	}
	if r.metrics.InFlight >= limit {
		return false
	}
	r.metrics.InFlight++
	return true
}

func (r *Receiver) dismiss() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.metrics.InFlight--
}

// errNoSignature is for the log.
var errNoSignature = errors.New("no allowed authorization, and no signature")

// receive returns what to answer. It first does what costs nothing, and reads a body only
// for somebody who may send, or may turn out to.
func (r *Receiver) receive(w http.ResponseWriter, req *http.Request) *answer {
	deadline := time.Now().Add(r.timeout)
	if a := checkHeader(req, r.maxBytes); a != nil {
		return a
	}
	known := r.access.byHeader(req.Header)
	if !known && !r.access.isSigned(req.Header) {
		r.strangers.came(r.log, req.RemoteAddr, errNoSignature)
		return unauthorized()
	}
	if !r.admit(known) {
		return busy("too many requests at once")
	}
	defer r.dismiss()

	body := bodies.Get().(*bytes.Buffer)
	defer release(body)
	if a := readBody(w, req, body, r.maxBytes, deadline); a != nil {
		return a
	}
	if !known {
		if err := r.access.verifier.Verify(req.Header, body.Bytes()); err != nil {
			r.strangers.came(r.log, req.RemoteAddr, err)
			return unauthorized()
		}
	}
	events, a := decode(body.Bytes())
	if a != nil {
		return a
	}

	// A sender that has left sends the same again. What is being written is written to its
	// end all the same, so that this is recognised then.
	ctx, cancel := context.WithDeadlineCause(context.WithoutCancel(req.Context()), deadline, errTimeout)
	defer cancel()
	return r.take(ctx, events)
}

var errTimeout = errors.New("receiver: the time for the request is over")

// take gives the sink those of the events that it has not taken before.
func (r *Receiver) take(ctx context.Context, events []*notifications.Event) *answer {
	claim, err := r.window.claim(ctx, events)
	if err != nil {
		return busy("another request with the same events is in progress")
	}
	taken := false
	defer func() { claim.settle(taken) }() // whatever happens: others wait for it
	if len(claim.fresh) > 0 {
		if err := r.write(ctx, claim.fresh); err != nil {
			r.trouble.failed(r.log, err)
			return answerTo(ctx, err)
		}
		r.trouble.over(r.log)
	}
	taken = true
	r.took(len(claim.fresh), len(events)-len(claim.fresh))
	return nil
}

// write calls the sink. A panic of it is an error like another: the server would not say
// more than that the connection is gone.
func (r *Receiver) write(ctx context.Context, events []*notifications.Event) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the sink panicked: %v\n%s", v, debug.Stack())
		}
	}()
	return r.sink.Write(ctx, events...)
}

// answerTo says what a sender is to do about an error of the sink. What it was is for the
// log.
func answerTo(ctx context.Context, err error) *answer {
	var delivery *notifications.DeliveryError
	switch {
	case errors.Is(err, notifications.ErrSinkClosed):
		return closing()
	case errors.Is(err, notifications.ErrFull), ctx.Err() != nil:
		return busy("the sink is behind")
	case errors.As(err, &delivery) && delivery.Kind == notifications.Refused:
		// The sink passes on at once, and the far end refuses the content. An Endpoint that
		// sent it finds out which event it is, as it would there.
		return refused(http.StatusUnprocessableEntity, "the sink refuses the content")
	}
	return refused(http.StatusInternalServerError, "the sink failed")
}
