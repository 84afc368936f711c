package faults

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	. "github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// panickingSink: a sink of somebody's own panics, again and again, in the same hub.
func panickingSink(t *testing.T) row {
	n := size()
	g := newRig(t, 3*n)
	t.Cleanup(g.abort)
	g.open()
	beside := new(sinktest.Fake)
	require.NoError(t, g.hub.Add("beside", beside))
	g.write(n, 13)
	g.settled()
	beside.Wait(t, n)
	beside.Panic(1 << 30)
	g.write(n, 7)
	g.settled() // the endpoint does not wait for it
	assert.EqualValues(t, n, g.hub.Metrics()["beside"].Pending)

	healthy := time.Now()
	beside.Panic(0)
	g.write(n, 13)
	g.settled()
	got := beside.Wait(t, 3*n)
	recovery := time.Since(healthy)
	assert.Equal(t, sinktest.IDs(g.events), sinktest.IDs(got), "the sink that panicked lost nothing either")
	assert.NoError(t, sinktest.Conserved(g.hub.Metrics()["beside"]))
	out := g.finish(3*n, 0)
	out.recovery = recovery
	return out
}

// clockJumps: the endpoint lives in a bubble (testing/synctest) whose clock begins in
// the year 2000, and its receiver in the present. While nobody does anything, the
// bubble's clock jumps to the next timer: over hours, in no time. What is provable so:
// a Retry-After that one clock means and the other reads puts nobody off for longer
// than MaxRetryAfter, one in the past for no time, and events are ordered by when they
// were written and not by what their timestamps say.
//
// A step of the wall clock alone cannot be had in a test: Go's timers and time.Until
// go by the monotonic clock, which no step touches.
func clockJumps(t *testing.T) (out row) {
	n := size()
	leaks := goleak.IgnoreCurrent()
	r := newReceiver(t, nil)             // outside of the bubble
	r.server.SetKeepAlivesEnabled(false) // an idle connection would hold the bubble's clock
	waits := []string{
		time.Now().Add(time.Hour * 24 * 365).UTC().Format(http.TimeFormat), // 27 years hence
		time.Unix(0, 0).UTC().Format(http.TimeFormat),
		"86400",
		"99999999999999999999",
		"",
	}
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, 3*n)
		g.leaks = leaks
		t.Cleanup(g.abort)
		g.r = r
		g.config.Timeout, g.config.Backoff, g.config.MaxBackoff = 0, 0, 0 // as in life
		for i, e := range g.events {
			e.Timestamp = e.Timestamp.AddDate(i*7919%100-50, 0, 0)
		}
		g.open()
		g.stopWatch() // it would keep the clock at a walk
		settled := func() {
			for limit := time.Now().Add(48 * time.Hour); ; time.Sleep(time.Second) {
				if m := g.e.Metrics(); m.Delivered == uint64(g.written) {
					return
				}
				if time.Now().After(limit) {
					t.Fatalf("not settled: %+v", g.e.Metrics())
				}
			}
		}
		g.write(n, 13)
		settled()
		r.misbehave(&behaviour{serve: func(w http.ResponseWriter, _ *http.Request, hit int) {
			if hit < len(waits) {
				w.Header().Set("Retry-After", waits[hit])
			}
			w.WriteHeader(503)
		}})
		begin := time.Now()
		g.write(n, 7)
		for limit := time.Now().Add(48 * time.Hour); ; time.Sleep(time.Second) {
			if hits, _, _, _ := r.count(); hits > len(waits) {
				break
			}
			require.True(t, time.Now().Before(limit), "the fault is met %d times", len(waits)+1)
		}
		asked := time.Since(begin)
		assert.GreaterOrEqual(t, asked, 3*MaxRetryAfter, "three of them ask for an hour or more")
		assert.Less(t, asked, 3*MaxRetryAfter+10*time.Minute)

		healthy := time.Now()
		require.NoError(t, r.mend(1))
		g.write(n, 13)
		settled()
		recovery := time.Since(healthy)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		assert.NoError(t, g.hub.Close(ctx))
		g.closed = true
		g.watching.Wait()
		out = g.result("")
		assert.NoError(t, sinktest.Conserved(g.e.Metrics().Metrics))
		assert.Equal(t, row{events: 3 * n, delivered: 3 * n}, out)
		out.recovery, out.bubble = recovery, true
	})
	r.stop()
	assert.NoError(t, goleak.Find(leaks))
	return out
}

// TestDeadEndpointCostsNothing measures what healthy endpoints deliver in a second,
// alone and beside an endpoint that hangs and one that cannot be reached, in turns.
//
// The machine of a test run is shared, and a ratio of two measurements on it is not
// exact: the short form asserts no more than half. The long one asserts nine tenths.
func TestDeadEndpointCostsNothing(t *testing.T) {
	events, rounds, least := 10000, 5, 0.5
	if *long {
		events, rounds, least = 50000, 15, 0.9
	}
	healthy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
	}))
	defer healthy.Close()
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		<-req.Context().Done()
	}))
	defer hanging.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	unreachable := "http://" + l.Addr().String()
	l.Close()

	alone, beside := make([]float64, rounds), make([]float64, rounds)
	ratios := make([]float64, rounds)
	pace(t, events, healthy.URL, hanging.URL, unreachable) // to warm up
	for i := range rounds {
		if i%2 == 0 {
			alone[i] = pace(t, events, healthy.URL)
			beside[i] = pace(t, events, healthy.URL, hanging.URL, unreachable)
		} else {
			beside[i] = pace(t, events, healthy.URL, hanging.URL, unreachable)
			alone[i] = pace(t, events, healthy.URL)
		}
		ratios[i] = beside[i] / alone[i]
	}
	ratio := median(beside) / median(alone)
	t.Logf("two healthy endpoints: %.0f events/s each alone, %.0f beside two dead ones: ratio %.2f (of medians of %d rounds; rounds %.2f to %.2f; at least %.1f)",
		median(alone), median(beside), ratio, rounds, slices.Min(ratios), slices.Max(ratios), least)
	assert.GreaterOrEqual(t, ratio, least)
}

func median(v []float64) float64 { return slices.Sorted(slices.Values(v))[len(v)/2] }

// pace returns how many events a second each of two healthy endpoints delivered.
func pace(t *testing.T, n int, healthy string, dead ...string) float64 {
	hub, err := NewBroadcaster(HubConfig{Logger: silent()})
	require.NoError(t, err)
	add := func(name, url string, c EndpointConfig) *Endpoint {
		c.Logger = silent()
		e, err := NewEndpoint(name, url, c)
		require.NoError(t, err)
		require.NoError(t, hub.Add(name, e))
		return e
	}
	works := []*Endpoint{add("a", healthy, EndpointConfig{}), add("b", healthy, EndpointConfig{})}
	for i, url := range dead {
		add(fmt.Sprint("dead", i), url, EndpointConfig{Timeout: timeout, Backoff: backoff, MaxBackoff: maxBackoff})
	}

	events := sinktest.Events("app", n)
	runtime.GC() // no round pays for the one before
	begin := time.Now()
	for i := 0; i < n; i += 10 {
		require.NoError(t, hub.Write(t.Context(), events[i:min(i+10, n)]...))
	}
	for _, e := range works {
		sinktest.Eventually(t, func() bool { return e.Metrics().Delivered == uint64(n) }, "all delivered")
	}
	took := time.Since(begin)

	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	err = hub.Close(ctx)
	assert.Equal(t, len(dead) > 0, err != nil, "%v", err)
	return float64(n) / took.Seconds()
}
