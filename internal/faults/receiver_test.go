package faults

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
)

// behaviour is how a receiver misbehaves. Each call gets the number of calls so far,
// from zero.
type behaviour struct {
	refuse bool                                                  // connections, all of them
	conn   func(c *conn, hit int)                                // has a new connection to itself
	early  func(w http.ResponseWriter, _ *http.Request, hit int) // before the body is read
	serve  func(w http.ResponseWriter, _ *http.Request, hit int) // after the body was read

	// takes says that it has taken the events that it is about to answer for, whatever
	// becomes of the answer.
	takes bool
	// refuses says that it is the content that it refuses. It is mended with a post
	// that begins with the oldest event, or some events in front would have been
	// refused and those behind accepted, which puts the events in the wrong.
	refuses bool
}

// receiver is a webhook on a port of its own, which it keeps. It takes what it is
// sent, unless it is told to misbehave.
type receiver struct {
	addr   string
	tls    *tls.Config
	poison map[string]bool // IDs; never changed while it runs
	alone  bool            // mended only with a post of the oldest event alone

	mu       sync.Mutex // guards the rest
	listener net.Listener
	server   *http.Server
	conns    map[*conn]struct{}
	does     *behaviour // nil: it is healthy
	hits     int        // of the behaviour
	posts    int
	stray    int      // requests that no endpoint makes by itself
	taken    []string // IDs, as they came
	oldest   string   // what the first refused post began with
	mends    int      // after that many further posts that begin with the oldest; 0: never
	healthy  time.Time
	serving  sync.WaitGroup
}

// conn is a connection that its receiver can still reach after net/http has it.
type conn struct {
	*net.TCPConn
	r    *receiver
	once sync.Once
}

func (c *conn) Close() error {
	c.once.Do(func() {
		c.r.mu.Lock()
		defer c.r.mu.Unlock()
		delete(c.r.conns, c)
	})
	return c.TCPConn.Close()
}

// reset closes the connection so that the other side hears "connection reset".
func (c *conn) reset() {
	_ = c.SetLinger(0)
	c.Close()
}

func newReceiver(t testing.TB, config *tls.Config) *receiver {
	t.Helper()
	r := &receiver{addr: "127.0.0.1:0", tls: config, conns: make(map[*conn]struct{})}
	require.NoError(t, r.start())
	return r
}

func (r *receiver) url() string {
	if r.tls != nil {
		return "https://" + r.addr
	}
	return "http://" + r.addr
}

// start listens, the second time on the same port.
func (r *receiver) start() (err error) {
	var l net.Listener
	for range 100 {
		if l, err = net.Listen("tcp", r.addr); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond) // somebody else's connection may have the port
	}
	if err != nil {
		return err
	}
	r.addr = l.Addr().String()
	l = &door{Listener: l, r: r}
	if r.tls != nil {
		l = tls.NewListener(l, r.tls)
	}
	server := &http.Server{Handler: http.HandlerFunc(r.handle), ErrorLog: log.New(io.Discard, "", 0)}
	r.mu.Lock()
	r.listener, r.server = l, server
	r.mu.Unlock()
	r.serving.Go(func() { _ = server.Serve(l) })
	return nil
}

// stop is what happens when the process ends: the port is closed, as is every
// connection.
func (r *receiver) stop() {
	r.mu.Lock()
	server := r.server
	r.mu.Unlock()
	_ = server.Close()
	r.hangUp()
	r.serving.Wait()
}

// hangUp closes every connection.
func (r *receiver) hangUp() {
	r.mu.Lock()
	var all []*conn
	for c := range r.conns {
		all = append(all, c)
	}
	r.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
}

// door is the listener; what the behaviour wants for itself does not get past it.
type door struct {
	net.Listener
	r *receiver
}

func (d *door) Accept() (net.Conn, error) {
	for {
		accepted, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		r := d.r
		c := &conn{TCPConn: accepted.(*net.TCPConn), r: r}
		r.mu.Lock()
		r.conns[c] = struct{}{}
		does, hit := r.does, r.hits
		if does == nil || does.conn == nil {
			r.mu.Unlock()
			return c, nil
		}
		r.hits++
		r.mu.Unlock()
		r.serving.Go(func() {
			defer c.Close()
			does.conn(c, hit)
		})
	}
}

func (r *receiver) handle(w http.ResponseWriter, req *http.Request) {
	r.serving.Add(1)
	defer r.serving.Done()
	r.mu.Lock()
	if req.Method != http.MethodPost || req.URL.Path != "/" {
		r.stray++
	}
	does, hit := r.does, r.hits
	if does != nil && does.early != nil {
		r.hits++
		r.mu.Unlock()
		does.early(w, req, hit)
		return
	}
	r.mu.Unlock()

	envelope, err := notifications.DecodeEnvelope(req.Header.Get("Content-Type"), req.Body, 0)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest) // and so a dead letter, which the suite counts
		return
	}
	ids := make([]string, len(envelope.Events))
	for i, e := range envelope.Events {
		ids[i] = e.ID
	}

	r.mu.Lock()
	does, hit = r.does, r.hits
	r.posts++
	if does != nil && does.refuses {
		if r.oldest == "" {
			r.oldest = ids[0]
		}
		if r.mends > 0 && ids[0] == r.oldest && (len(ids) == 1 || !r.alone) {
			if r.mends--; r.mends == 0 {
				r.does, r.healthy, does = nil, time.Now(), nil
			}
		}
	}
	if does != nil {
		r.hits++
	}
	refused := slices.ContainsFunc(ids, func(id string) bool { return r.poison[id] })
	if !refused && (does == nil || does.takes) {
		r.taken = append(r.taken, ids...)
	}
	r.mu.Unlock()

	switch {
	case refused:
		http.Error(w, "poison", http.StatusBadRequest)
	case does != nil && does.serve != nil:
		does.serve(w, req, hit)
	}
}

// misbehave begins a fault.
func (r *receiver) misbehave(b *behaviour) {
	if b.refuse {
		r.stop()
	}
	r.mu.Lock()
	r.does, r.hits, r.oldest, r.mends, r.healthy = b, 0, "", 0, time.Time{}
	r.mu.Unlock()
	if b.conn != nil {
		r.hangUp() // it is met only by new connections
	}
}

// mend ends it, for what refuses content with the n-th post from now on that begins
// with the oldest event.
func (r *receiver) mend(n int) error {
	r.mu.Lock()
	b := r.does
	switch {
	case b == nil:
	case b.refuses:
		r.mends = n
	default:
		r.does = nil
	}
	if b == nil || !b.refuses {
		r.healthy = time.Now()
	}
	r.mu.Unlock()
	if b != nil && b.refuse {
		return r.start()
	}
	return nil
}

func (r *receiver) count() (hits, posts, conns int, healthy time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hits, r.posts, len(r.conns), r.healthy
}

func (r *receiver) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.taken)
}
