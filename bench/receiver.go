package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// receiver is the webhook that all deliver to.
type receiver struct {
	url    string
	server *http.Server
	done   chan struct{} // closed when the server has ended
	conduct

	posts, bytes, connections atomic.Int64
	gate                      chan struct{} // answers wait until it is closed
	opened                    sync.Once
}

// conduct is how a receiver behaves. The zero value reads and answers at once.
type conduct struct {
	delay  time.Duration     // before each answer
	seen   func(body []byte) // called with each body, if set
	posted func()            // called before each answer, if set
}

// newReceiver returns a running receiver. One that is shut does not answer until open
// is called.
func newReceiver(c conduct, shut bool) (*receiver, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{
		url: "http://" + l.Addr().String(), done: make(chan struct{}),
		conduct: c, gate: make(chan struct{}),
	}
	r.server = &http.Server{
		Handler:   r,
		ErrorLog:  log.New(io.Discard, "", 0), // senders leave in the middle of a request
		ConnState: r.count,
	}
	if !shut {
		r.open()
	}
	go func() {
		defer close(r.done)
		_ = r.server.Serve(l) // says that it was closed
	}()
	return r, nil
}

func (r *receiver) count(_ net.Conn, s http.ConnState) {
	if s == http.StateNew {
		r.connections.Add(1)
	}
}

// buffers are for reading bodies. They are larger than what io.Discard brings, so
// that the receiver takes less of the CPU that the senders are measured by.
var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// whole are for bodies that are looked at.
var whole = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	n, err := r.read(req.Body)
	if err != nil {
		return // the sender has left
	}
	r.bytes.Add(n)
	r.posts.Add(1)
	select {
	case <-r.gate:
	case <-req.Context().Done():
		return
	}
	if r.delay > 0 {
		time.Sleep(r.delay)
	}
	if r.posted != nil {
		r.posted()
	}
	w.WriteHeader(http.StatusOK)
}

func (r *receiver) read(body io.Reader) (int64, error) {
	if r.seen != nil {
		b := whole.Get().(*bytes.Buffer)
		defer whole.Put(b)
		b.Reset()
		n, err := b.ReadFrom(body)
		if err == nil {
			r.seen(b.Bytes())
		}
		return n, err
	}
	buffer := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(buffer)
	// Without its other methods, or io.Discard would bring its own buffer.
	return io.CopyBuffer(struct{ io.Writer }{io.Discard}, body, buffer[:])
}

// open lets the answers go that wait, and all that follow.
func (r *receiver) open() { r.opened.Do(func() { close(r.gate) }) }

// had returns an error if so many events in envelopes of so many cannot have come.
func (r *receiver) had(events, perPost int, eventBytes int64) error {
	posts, bytes := r.posts.Load(), r.bytes.Load()
	if posts*int64(perPost) < int64(events) || bytes < int64(events)*eventBytes {
		return fmt.Errorf("receiver: %d posts with %d bytes: cannot be %d events of %d bytes", posts, bytes, events, eventBytes)
	}
	return nil
}

func (r *receiver) close() error {
	r.open()
	err := r.server.Close()
	<-r.done
	return err
}

// patience is how long anything may take.
const patience = 2 * time.Minute

var errPatience = errors.New("nothing more happens")

// until polls, often enough not to be seen in what is measured.
func until(done func() bool) error {
	for deadline := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return errPatience
		}
	}
	return nil
}
