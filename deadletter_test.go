package notifications_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// picky is a sink that refuses blocks with an event in it that it does not like, as
// a receiver does that validates.
type picky struct {
	mu      sync.Mutex // guards the rest
	refuses func(id string) bool
	posts   int
	took    []string
	alone   map[string]int // refusals of single events
	fail    error          // instead of anything else
}

func (p *picky) Write(_ context.Context, events ...*Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.posts++
	if p.fail != nil {
		return p.fail
	}
	for _, e := range events {
		if p.refuses != nil && p.refuses(e.ID) {
			if len(events) == 1 {
				if p.alone == nil {
					p.alone = make(map[string]int)
				}
				p.alone[e.ID]++
			}
			return &DeliveryError{Kind: Refused, Status: 422, Events: len(events), Answer: "do not like it"}
		}
	}
	p.took = append(p.took, sinktest.IDs(events)...)
	return nil
}

func (p *picky) Close(context.Context) error { return nil }

func (p *picky) set(refuses func(string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = refuses
}

func (p *picky) seen() (took []string, posts int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.took), p.posts
}

func only(ids ...string) func(string) bool {
	return func(id string) bool { return slices.Contains(ids, id) }
}

func everything(string) bool { return true }

// letterbox is a hub with one retrying sink in front of p.
func letterbox(t *testing.T, p Sink, c RetryConfig) (*Broadcaster, *DeadLetters) {
	log, _ := quietLogger()
	letters := NewDeadLetters(0, log)
	c.Logger, c.Name = log, "picky"
	if c.DeadLetters == nil {
		c.DeadLetters = letters
	}
	s, err := NewRetryingSink(p, c)
	require.NoError(t, err)
	hub, err := NewBroadcaster(HubConfig{Logger: log})
	require.NoError(t, err)
	require.NoError(t, hub.Add("picky", s))
	return hub, letters
}

func letterIDs(letters *DeadLetters) (ids []string) {
	for _, l := range letters.Letters() {
		ids = append(ids, l.Event.ID)
	}
	return ids
}

func without(ids []string, gone ...string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return slices.Contains(gone, id) })
}

// TestRefusedEventAmongOthers, at every place of a block: it costs few extra POSTs,
// and nothing else.
func TestRefusedEventAmongOthers(t *testing.T) {
	const block = 1024
	places := []int{0, 1, 2, 3, 4, 5, 255, 256, 257, 341, 510, 511, 512, 513, 682, 1000, 1020, 1021, 1022}
	for _, place := range places {
		synctest.Test(t, func(t *testing.T) {
			p := &picky{refuses: only(fmt.Sprintf("e-%d", place))}
			hub, letters := letterbox(t, p, RetryConfig{})
			events := sinktest.Events("e", block)
			start := time.Now()
			require.NoError(t, hub.Write(t.Context(), events...))
			synctest.Wait()
			took, posts := p.seen()
			assert.Equal(t, without(sinktest.IDs(events), events[place].ID), took, "place %d", place)
			assert.Equal(t, []string{events[place].ID}, letterIDs(letters))
			assert.LessOrEqual(t, posts-1, 21, "extra POSTs, place %d", place)
			assert.Zero(t, time.Since(start), "nobody had to wait")
			assert.Equal(t, Metrics{Accepted: block, Delivered: block - 1, DeadLettered: 1}, hub.Metrics()["picky"])
			require.NoError(t, hub.Close(t.Context()))
		})
	}
}

// TestRefusedEventLast stays where it is until another is accepted.
func TestRefusedEventLast(t *testing.T) {
	for _, before := range []int{0, 1, 1023} {
		synctest.Test(t, func(t *testing.T) {
			poison := fmt.Sprintf("e-%d", before)
			p := &picky{refuses: only(poison)}
			hub, letters := letterbox(t, p, RetryConfig{MaxBackoff: time.Minute})
			events := sinktest.Events("e", before+1)
			require.NoError(t, hub.Write(t.Context(), events...))
			time.Sleep(time.Hour)
			synctest.Wait()
			assert.Empty(t, letterIDs(letters), "it may be the endpoint that is wrong")
			assert.Equal(t, Metrics{Accepted: uint64(before + 1), Delivered: uint64(before), Pending: 1}, hub.Metrics()["picky"])
			p.mu.Lock()
			tries := p.alone[poison]
			p.mu.Unlock()
			assert.Greater(t, tries, 30, "tried again at the slow pace")
			assert.Less(t, tries, 150)

			start := time.Now()
			require.NoError(t, hub.Write(t.Context(), sinktest.Events("later", 2)...))
			synctest.Wait()
			assert.Zero(t, time.Since(start), "what is behind it goes on at once")
			assert.Equal(t, []string{poison}, letterIDs(letters))
			took, _ := p.seen()
			assert.Equal(t, append(sinktest.IDs(events[:before]), "later-0", "later-1"), took)
			letter := letters.Letters()[0]
			assert.Equal(t, ReasonRefused, letter.Reason)
			assert.Equal(t, "picky", letter.Endpoint)
			assert.Equal(t, 422, letter.Status)
			assert.Equal(t, "do not like it", letter.Answer)
			assert.Greater(t, letter.Attempts, 30)
			assert.GreaterOrEqual(t, letter.Last.Sub(letter.First), 59*time.Minute)
			require.NoError(t, hub.Close(t.Context()))
		})
	}
}

// TestEverythingIsRefusedForAWhile: it is the endpoint that is wrong.
func TestEverythingIsRefusedForAWhile(t *testing.T) {
	for _, n := range []int{10, 11, 50, 3000} {
		synctest.Test(t, func(t *testing.T) {
			p := &picky{refuses: everything}
			hub, letters := letterbox(t, p, RetryConfig{Backoff: time.Second, MaxBackoff: time.Minute})
			events := sinktest.Events("e", n)
			require.NoError(t, hub.Write(t.Context(), events...))
			time.Sleep(time.Hour)
			synctest.Wait()
			_, posts := p.seen()
			assert.Less(t, posts, 7000, "in an hour: some 120 waits, a third of them with up to a hundred") // 9500 without that limit
			assert.EqualValues(t, n, hub.Metrics()["picky"].Pending)

			p.set(nil) // mended
			time.Sleep(time.Minute)
			synctest.Wait()
			took, _ := p.seen()
			assert.Equal(t, sinktest.IDs(events), took)
			assert.Empty(t, letterIDs(letters))
			require.NoError(t, hub.Close(t.Context()))
		})
	}
}

// TestParkedEventsAreTriedFirst: a receiver that was mended while few events were
// parked gets these, before what comes behind them.
func TestParkedEventsAreTriedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &picky{refuses: everything}
		hub, letters := letterbox(t, p, RetryConfig{})
		events := sinktest.Events("e", 3)
		require.NoError(t, hub.Write(t.Context(), events[:2]...))
		synctest.Wait()
		p.set(nil)
		require.NoError(t, hub.Write(t.Context(), events[2]))
		synctest.Wait()
		took, _ := p.seen()
		assert.Equal(t, sinktest.IDs(events), took)
		assert.Empty(t, letterIDs(letters))
		require.NoError(t, hub.Close(t.Context()))
	})
}

// TestPoisonAndFailures: refusals, failures and poison in turn lose nothing and keep
// the order.
func TestPoisonAndFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		poison := only("e-3", "e-4", "e-700", "e-1999")
		p := &picky{refuses: poison}
		hub, letters := letterbox(t, p, RetryConfig{Backoff: time.Second, MaxBackoff: 10 * time.Second})
		events := sinktest.Events("e", 2000)
		for i := 0; i < len(events); i += 100 {
			switch i / 100 % 4 {
			case 0:
				p.set(everything)
			case 1:
				p.set(poison)
			case 2:
				p.mu.Lock()
				p.fail = errors.New("boom")
				p.mu.Unlock()
			case 3:
				p.mu.Lock()
				p.fail = nil
				p.mu.Unlock()
			}
			require.NoError(t, hub.Write(t.Context(), events[i:i+100]...))
			time.Sleep(30 * time.Second)
		}
		p.set(poison)
		require.NoError(t, hub.Write(t.Context(), sinktest.Events("end", 1)...))
		time.Sleep(time.Minute)
		synctest.Wait()
		took, _ := p.seen()
		assert.Equal(t, append(without(sinktest.IDs(events), "e-3", "e-4", "e-700", "e-1999"), "end-0"), took)
		assert.Equal(t, []string{"e-3", "e-4", "e-700", "e-1999"}, letterIDs(letters))
		require.NoError(t, hub.Close(t.Context()))
	})
}

func TestMaxAttemptsAndMaxAge(t *testing.T) {
	for name, c := range map[string]struct {
		config   RetryConfig
		min, max int // attempts
	}{
		"attempts": {RetryConfig{MaxAttempts: 5}, 5, 5},
		"age":      {RetryConfig{MaxAge: time.Hour, MaxBackoff: time.Minute}, 60, 300},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &picky{fail: status(Transient, 503, 0)}
				hub, letters := letterbox(t, p, c.config)
				events := sinktest.Events("e", 3)
				require.NoError(t, hub.Write(t.Context(), events...))
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				assert.Equal(t, sinktest.IDs(events), letterIDs(letters))
				letter := letters.Letters()[0]
				assert.Equal(t, ReasonExpired, letter.Reason)
				assert.Equal(t, 503, letter.Status)
				assert.GreaterOrEqual(t, letter.Attempts, c.min)
				assert.LessOrEqual(t, letter.Attempts, c.max)
				assert.Equal(t, Metrics{Accepted: 3, DeadLettered: 3}, hub.Metrics()["picky"])
				require.NoError(t, hub.Close(t.Context()))
			})
		})
	}

	synctest.Test(t, func(t *testing.T) {
		p := &picky{refuses: everything} // and alone
		hub, letters := letterbox(t, p, RetryConfig{MaxAttempts: 3})
		require.NoError(t, hub.Write(t.Context(), NewEvent(ActionPush)))
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Len(t, letters.Letters(), 1)
		assert.Equal(t, ReasonRefused, letters.Letters()[0].Reason)
		assert.Equal(t, 3, letters.Letters()[0].Attempts)
		require.NoError(t, hub.Close(t.Context()))
	})
}

// stuckLetters takes nothing for a while.
type stuckLetters struct {
	*DeadLetters
	mu   sync.Mutex
	fail int
}

func (s *stuckLetters) Put(ctx context.Context, l DeadLetter) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail--; s.fail >= 0 {
		return errors.New("disk full")
	}
	return s.DeadLetters.Put(ctx, l)
}

// TestEventIsSettledOnceItsLetterIsKept, and not before.
func TestEventIsSettledOnceItsLetterIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		letters := &stuckLetters{DeadLetters: NewDeadLetters(0, silent()), fail: 5}
		p := &picky{refuses: only("e-0")}
		hub, _ := letterbox(t, p, RetryConfig{DeadLetters: letters})
		require.NoError(t, hub.Write(t.Context(), sinktest.Events("e", 2)...))
		synctest.Wait()
		assert.EqualValues(t, 2, hub.Metrics()["picky"].Pending)
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Equal(t, Metrics{Accepted: 2, Delivered: 1, DeadLettered: 1}, hub.Metrics()["picky"])
		took, _ := p.seen()
		assert.Equal(t, []string{"e-1"}, took)
		require.NoError(t, hub.Close(t.Context()))
	})
}

func TestCloseWithParkedEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, _ := letterbox(t, &picky{refuses: everything}, RetryConfig{})
		require.NoError(t, hub.Write(t.Context(), NewEvent(ActionPush)))
		synctest.Wait()
		start := time.Now()
		var left *UndeliveredError
		require.ErrorAs(t, hub.Close(context.Background()), &left)
		assert.Less(t, time.Since(start), 10*time.Minute, "no more is coming that could decide")
	})
}

func TestDeadLettersAreBounded(t *testing.T) {
	d := NewDeadLetters(3, silent())
	for _, e := range sinktest.Events("e", 5) {
		require.NoError(t, d.Put(t.Context(), DeadLetter{Event: e}))
	}
	assert.Equal(t, []string{"e-2", "e-3", "e-4"}, letterIDs(d))
	put, lost := d.Count()
	assert.EqualValues(t, 5, put)
	assert.EqualValues(t, 2, lost)
	assert.ErrorIs(t, d.Put(t.Context(), DeadLetter{}), ErrNilEvent)
}

func TestReplay(t *testing.T) {
	r := newReceiver(t)
	poison := true
	r.answers(func(w http.ResponseWriter, req *http.Request) {
		_, body := r.last() // one request at a time
		if poison && strings.Contains(body, `"repository":"poison"`) {
			w.WriteHeader(400)
			return
		}
		r.take(w, req, []byte(body))
	})
	file, err := OpenDeadLetterFile(filepath.Join(t.TempDir(), "letters"), DeadLetterFileConfig{Logger: silent()})
	require.NoError(t, err)
	defer file.Close()
	e := newEndpoint(t, "hook", r.URL, EndpointConfig{DeadLetters: file})
	for i := range 4 {
		require.NoError(t, e.Write(t.Context(), sinktest.Events("poison", i+1)[i]))
		require.NoError(t, e.Write(t.Context(), NewEvent(ActionPush)))
	}
	sinktest.Eventually(t, func() bool { return e.Metrics().DeadLettered == 4 }, "four dead letters")

	// Those that are refused again come back.
	n, err := e.Replay(t.Context(), ReplayFilter{IDs: []string{"poison-1"}, Rate: 1000})
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	require.NoError(t, e.Write(t.Context(), NewEvent(ActionPush)))
	sinktest.Eventually(t, func() bool { return e.Metrics().DeadLettered == 5 }, "back again")

	n, err = e.Replay(t.Context(), ReplayFilter{Since: time.Now().Add(time.Hour)})
	require.NoError(t, err)
	assert.Zero(t, n)
	n, err = e.Replay(t.Context(), ReplayFilter{Until: time.Now().Add(-time.Hour)})
	require.NoError(t, err)
	assert.Zero(t, n)

	r.mu.Lock()
	poison = false
	r.mu.Unlock()
	n, err = e.Replay(t.Context(), ReplayFilter{Rate: 1000})
	require.NoError(t, err)
	assert.Equal(t, 4, n)
	sinktest.Eventually(t, func() bool { return e.Metrics().Pending == 0 }, "delivered")
	var came []string
	for _, id := range sinktest.IDs(r.got()) {
		if strings.HasPrefix(id, "poison") {
			came = append(came, id)
		}
	}
	slices.Sort(came)
	assert.Equal(t, []string{"poison-0", "poison-1", "poison-2", "poison-3"}, came, "with their old IDs")
	m := e.Metrics().Metrics
	assert.NoError(t, sinktest.Conserved(m))
	assert.EqualValues(t, 9+1+4, m.Accepted)

	n, err = e.Replay(t.Context(), ReplayFilter{})
	require.NoError(t, err)
	assert.Zero(t, n, "each is taken out once")
	_, err = e.Replay(t.Context(), ReplayFilter{Rate: -1})
	assert.ErrorContains(t, err, "rate: -1")
	other := newEndpoint(t, "other", r.URL, EndpointConfig{DeadLetters: justPut{}})
	_, err = other.Replay(t.Context(), ReplayFilter{})
	assert.ErrorContains(t, err, "cannot be taken out")
}

type justPut struct{}

func (justPut) Put(context.Context, DeadLetter) error { return nil }

func openLetters(t *testing.T, path string, c DeadLetterFileConfig) *DeadLetterFile {
	c.Logger = silent()
	d, err := OpenDeadLetterFile(path, c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func takeAll(t *testing.T, d DeadLetterStore, give func(*DeadLetter) error) (ids []string) {
	t.Helper()
	err := d.Take(t.Context(), func(*DeadLetter) bool { return true }, func(l *DeadLetter) error {
		ids = append(ids, l.Event.ID)
		return give(l)
	})
	if err != nil {
		assert.ErrorIs(t, err, errNotNow)
	}
	return ids
}

var errNotNow = errors.New("not now")

func peek(*DeadLetter) error { return errNotNow }
func take(*DeadLetter) error { return nil }

func TestDeadLetterFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "letters")
	d := openLetters(t, path, DeadLetterFileConfig{})
	events := sinktest.Events("e", 4)
	letter := DeadLetter{
		Event: events[0], Endpoint: "hook", Reason: ReasonRefused, Status: 422, Attempts: 7,
		First: time.Unix(1e9, 0).UTC(), Last: time.Unix(2e9, 0).UTC(), Error: "422", Answer: "no",
	}
	require.NoError(t, d.Put(t.Context(), letter))
	for _, e := range events[1:] {
		require.NoError(t, d.Put(t.Context(), DeadLetter{Event: e}))
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	err = d.Take(t.Context(), func(l *DeadLetter) bool { return l.Event.ID == "e-0" }, func(l *DeadLetter) error {
		b, err := l.Event.MarshalJSON()
		require.NoError(t, err)
		want, err := letter.Event.MarshalJSON()
		require.NoError(t, err)
		assert.Equal(t, string(want), string(b))
		got := *l
		got.Event = letter.Event
		assert.Equal(t, letter, got)
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, []string{"e-1"}, takeAll(t, d, peek))

	// It is all there after a restart, half a line or not.
	require.NoError(t, d.Close())
	assert.ErrorIs(t, d.Put(t.Context(), letter), os.ErrClosed)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("damaged\n{\"n\":9,\"letter\":{\"event\":{\"id\":\"half")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	d = openLetters(t, path, DeadLetterFileConfig{})
	more := sinktest.Events("more", 1)[0]
	require.NoError(t, d.Put(t.Context(), DeadLetter{Event: more}))
	assert.Equal(t, []string{"e-1", "e-2", "e-3", "more-0"}, takeAll(t, d, take))
	assert.Empty(t, takeAll(t, d, take))
	require.NoError(t, d.Close())
	assert.Empty(t, takeAll(t, openLetters(t, path, DeadLetterFileConfig{}), take))
}

// TestDeadLetterFileCutAnywhere: whatever a crash leaves of the file, the whole lines
// before are there, and it can be written to.
func TestDeadLetterFileCutAnywhere(t *testing.T) {
	dir := t.TempDir()
	d := openLetters(t, filepath.Join(dir, "whole"), DeadLetterFileConfig{})
	for _, e := range sinktest.Events("e", 3) {
		require.NoError(t, d.Put(t.Context(), DeadLetter{Event: e}))
	}
	whole, err := os.ReadFile(filepath.Join(dir, "whole"))
	require.NoError(t, err)
	for cut := range len(whole) {
		path := filepath.Join(dir, "cut")
		require.NoError(t, os.WriteFile(path, whole[:cut], 0o600))
		d := openLetters(t, path, DeadLetterFileConfig{})
		require.NoError(t, d.Put(t.Context(), DeadLetter{Event: sinktest.Events("new", 1)[0]}))
		want := sinktest.IDs(sinktest.Events("e", strings.Count(string(whole[:cut]), "\n")))
		require.Equal(t, append(want, "new-0"), takeAll(t, d, take), "cut at %d", cut)
		require.NoError(t, d.Close())
	}
}

func TestDeadLetterFileRotates(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "letters")
	d := openLetters(t, path, DeadLetterFileConfig{MaxBytes: 1000, MaxFiles: 2})
	events := sinktest.Events("e", 40)
	for _, e := range events {
		require.NoError(t, d.Put(t.Context(), DeadLetter{Event: e}))
	}
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, files, 3)
	var size int64
	for _, f := range files {
		info, err := f.Info()
		require.NoError(t, err)
		assert.LessOrEqual(t, info.Size(), int64(1000))
		size += info.Size()
	}
	require.NoError(t, d.Close())
	d = openLetters(t, path, DeadLetterFileConfig{MaxBytes: 1000, MaxFiles: 2})
	got := takeAll(t, d, take)
	assert.Equal(t, sinktest.IDs(events[len(events)-len(got):]), got, "the newest, in order")
	assert.Greater(t, len(got), 4)
	assert.Empty(t, takeAll(t, d, take))
}

func TestDeadLetterFileBadInput(t *testing.T) {
	for _, c := range []struct {
		path   string
		config DeadLetterFileConfig
		want   string
	}{
		{"", DeadLetterFileConfig{}, "path: empty"},
		{"x", DeadLetterFileConfig{MaxBytes: -1}, "maxbytes: -1"},
		{"x", DeadLetterFileConfig{MaxFiles: -1}, "maxfiles: -1"},
		{filepath.Join(t.TempDir(), "no", "such", "directory"), DeadLetterFileConfig{}, "no such"},
		{t.TempDir(), DeadLetterFileConfig{}, "directory"},
	} {
		_, err := OpenDeadLetterFile(c.path, c.config)
		assert.ErrorContains(t, err, c.want)
	}
}

// TestDeadLetterFileTakenMany: taking letters rotates files too, and loses and doubles
// none.
func TestDeadLetterFileTakenMany(t *testing.T) {
	path := filepath.Join(t.TempDir(), "letters")
	config := DeadLetterFileConfig{MaxBytes: 2000, MaxFiles: 200}
	d := openLetters(t, path, config)
	events := sinktest.Events("e", 400)
	for _, e := range events {
		require.NoError(t, d.Put(t.Context(), DeadLetter{Event: e}))
	}
	all := func(*DeadLetter) bool { return true }
	n := 0
	require.ErrorIs(t, d.Take(t.Context(), all, func(*DeadLetter) error {
		if n++; n > 300 {
			return errNotNow
		}
		return nil
	}), errNotNow)
	require.NoError(t, d.Close())
	d = openLetters(t, path, config)
	require.NoError(t, d.Put(t.Context(), DeadLetter{Event: sinktest.Events("new", 1)[0]}))
	assert.Equal(t, append(sinktest.IDs(events[300:]), "new-0"), takeAll(t, d, take))
	assert.Empty(t, takeAll(t, d, take))
}

func TestTakeGivesEachLetterOnce(t *testing.T) {
	d := NewDeadLetters(0, silent())
	for _, e := range sinktest.Events("e", 20) {
		require.NoError(t, d.Put(t.Context(), DeadLetter{Event: e}))
	}
	var given atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			_ = d.Take(t.Context(), func(*DeadLetter) bool { return true }, func(*DeadLetter) error {
				given.Add(1)
				time.Sleep(time.Millisecond)
				return nil
			})
		})
	}
	wg.Wait()
	assert.EqualValues(t, 20, given.Load())
}

func TestTakeWaitsForItsTurnNoLongerThanItsContext(t *testing.T) {
	file := openLetters(t, filepath.Join(t.TempDir(), "letters"), DeadLetterFileConfig{Logger: silent()})
	for _, d := range []DeadLetterStore{NewDeadLetters(0, silent()), file} {
		require.NoError(t, d.Put(t.Context(), DeadLetter{Event: NewEvent(ActionPush)}))
		any := func(*DeadLetter) bool { return true }
		require.NoError(t, d.Take(t.Context(), any, func(*DeadLetter) error {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			assert.ErrorIs(t, d.Take(ctx, any, func(*DeadLetter) error { return nil }), context.Canceled)
			return nil
		}))
	}
}

// TestHubBringsDeadLetters is what makes the default durable behind a hub that is.
func TestHubBringsDeadLetters(t *testing.T) {
	r := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if body, _ := io.ReadAll(req.Body); strings.Contains(string(body), "poison") {
			w.WriteHeader(422)
		}
	}))
	defer r.Close()
	path := filepath.Join(t.TempDir(), "letters")
	durable := openLetters(t, path, DeadLetterFileConfig{Logger: silent()})
	hub, err := NewBroadcaster(HubConfig{DeadLetters: durable, Logger: silent()})
	require.NoError(t, err)
	own := NewDeadLetters(0, silent())
	inherits := newEndpoint(t, "inherits", r.URL, EndpointConfig{Logger: silent()})
	hasOwn := newEndpoint(t, "own", r.URL, EndpointConfig{Logger: silent(), DeadLetters: own})
	require.NoError(t, hub.Add("inherits", inherits))
	require.NoError(t, hub.Add("own", hasOwn))
	require.NoError(t, hub.Write(t.Context(), sinktest.Events("poison", 1)[0], sinktest.Events("good", 1)[0]))
	for _, e := range []*Endpoint{inherits, hasOwn} {
		sinktest.Eventually(t, func() bool { return e.Metrics().DeadLettered == 1 && e.Metrics().Delivered == 1 }, "both settled")
	}
	require.NoError(t, hub.Close(t.Context()))
	require.NoError(t, durable.Close())

	var letters []string
	again := openLetters(t, path, DeadLetterFileConfig{Logger: silent()})
	require.NoError(t, again.Take(t.Context(), func(l *DeadLetter) bool {
		letters = append(letters, l.Endpoint+" "+l.Event.ID)
		return false
	}, nil))
	assert.Equal(t, []string{"inherits poison-0"}, letters, "still there after a restart")
	assert.Len(t, own.Letters(), 1)
}

// TestEndpointMovesToAnotherHub, which has no dead letters of its own.
func TestEndpointMovesToAnotherHub(t *testing.T) {
	r := newReceiver(t)
	r.answers(statusHandler(422))
	firsts := NewDeadLetters(0, silent())
	e := newEndpoint(t, "hook", r.URL, EndpointConfig{MaxAttempts: 1, Logger: silent()})
	for i, config := range []HubConfig{{DeadLetters: firsts}, {}} {
		hub, err := NewBroadcaster(config)
		require.NoError(t, err)
		require.NoError(t, hub.Add("hook", e))
		require.NoError(t, hub.Write(t.Context(), NewEvent(ActionPush)))
		sinktest.Eventually(t, func() bool { return e.Metrics().DeadLettered == uint64(i+1) }, "given up")
		require.NoError(t, hub.Remove(t.Context(), "hook"))
		require.NoError(t, hub.Close(t.Context()))
	}
	assert.Len(t, firsts.Letters(), 1)
}
