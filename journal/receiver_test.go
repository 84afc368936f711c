package journal

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The receivers. The wide one gets several envelopes at once, and the order of each
// repository only.
const (
	steady = "steady"
	moody  = "moody" // answers 503 now and then
	wide   = "wide"

	wideInFlight = 4
	wideEvents   = 16
)

var receivers = []string{steady, moody, wide}

// envelope is what one request has brought.
type envelope struct {
	life int
	ids  []eventID
}

// receiver keeps what comes. It can be told to wait with its answer: whoever is killed
// then does not know that it was received.
type receiver struct {
	server *httptest.Server
	moody  bool

	mu    sync.Mutex // guards the rest
	got   []envelope
	repos map[eventID]string
	asked int
	hold  int           // the answer to hold, counted from now on; zero: none
	held  chan struct{} // closed when it is held
	dead  chan struct{} // closed when it need not be any more
}

func startReceiver(t *testing.T, name string) *receiver {
	r := &receiver{moody: name == moody, repos: make(map[eventID]string)}
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.serve(t, w, req) }))
	t.Cleanup(r.server.Close)
	return r
}

func (r *receiver) serve(t *testing.T, w http.ResponseWriter, req *http.Request) {
	var env struct {
		Events []struct {
			ID     string
			Target struct{ Repository string }
		}
	}
	if err := json.NewDecoder(req.Body).Decode(&env); err != nil {
		return // half a request, of somebody who was killed
	}
	r.mu.Lock()
	if r.asked++; r.moody && r.asked%4 == 0 {
		r.mu.Unlock()
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	life, err := strconv.Atoi(req.Header.Get(lifeHeader))
	assert.NoError(t, err)
	got := envelope{life: life}
	for _, e := range env.Events {
		id := parseEventID(t, e.ID)
		r.repos[id] = e.Target.Repository
		got.ids = append(got.ids, id)
	}
	r.got = append(r.got, got)
	var dead chan struct{}
	if r.hold > 0 {
		if r.hold--; r.hold == 0 {
			dead = r.dead
			close(r.held)
		}
	}
	r.mu.Unlock()
	if dead != nil {
		<-dead
	}
}

// holdAnswer has the n-th envelope from now on not answered until release.
func (r *receiver) holdAnswer(n int) (held <-chan struct{}, release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold, r.held, r.dead = n, make(chan struct{}), make(chan struct{})
	dead := r.dead
	return r.held, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.hold = 0
		close(dead)
	}
}

// envelopes returns what came, life by life: the last request of a process may be read
// after the first of the next one.
func (r *receiver) envelopes() []envelope {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortStableFunc(r.got, func(a, b envelope) int { return a.life - b.life })
	return r.got
}
