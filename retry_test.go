package notifications_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// script is a sink that answers one attempt after the other with the errors that it
// was given, and then takes everything. It notes when.
type script struct {
	mu       sync.Mutex
	errs     []error
	attempts []time.Time
	inside   int
	most     int           // attempts at once
	takes    time.Duration // by one attempt
}

func (s *script) Write(ctx context.Context, events ...*Event) error {
	s.mu.Lock()
	s.attempts = append(s.attempts, time.Now())
	s.inside++
	s.most = max(s.most, s.inside)
	var err error
	if len(s.errs) > 0 {
		err, s.errs = s.errs[0], s.errs[1:]
	}
	s.mu.Unlock()

	time.Sleep(s.takes)
	s.mu.Lock()
	s.inside--
	s.mu.Unlock()
	return err
}

func (s *script) Close(context.Context) error { return nil }

func status(kind FailureKind, status int, after time.Duration) error {
	return &DeliveryError{Kind: kind, Status: status, RetryAfter: after}
}

func quietLogger() (*logrus.Entry, *logtest.Hook) {
	logger, hook := logtest.NewNullLogger()
	logger.SetLevel(logrus.DebugLevel)
	return logrus.NewEntry(logger), hook
}

// TestRetryDelays has the delivery policy: how long an endpoint waits after what.
func TestRetryDelays(t *testing.T) {
	config := RetryConfig{Backoff: time.Second, MaxBackoff: time.Minute}
	for _, c := range []struct {
		name     string
		err      error
		min, max time.Duration // of the delay after a first failure
	}{
		{"an error of any kind", errors.New("boom"), 1, time.Second},
		{"no answer", &DeliveryError{Err: errors.New("refused")}, 1, time.Second},
		{"503", status(Transient, 503, 0), 1, time.Second},
		{"503 with Retry-After", status(Transient, 503, 10*time.Second), 10 * time.Second, 11 * time.Second},
		{"401", status(Misconfigured, 401, 0), 30 * time.Second, time.Minute},
		{"400", status(Refused, 400, 0), 30 * time.Second, time.Minute},
		{"401 with Retry-After", status(Misconfigured, 401, time.Hour), time.Hour, time.Hour + time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for range 100 { // it is random
					to := &script{errs: []error{c.err}}
					log, _ := quietLogger()
					config.Logger = log
					s, err := NewRetryingSink(to, config)
					require.NoError(t, err)
					require.NoError(t, s.Write(t.Context(), NewEvent(ActionPush)))
					require.Len(t, to.attempts, 2)
					delay := to.attempts[1].Sub(to.attempts[0])
					require.GreaterOrEqual(t, delay, c.min)
					require.LessOrEqual(t, delay, c.max)
				}
			})
		})
	}
}

func TestRetryBacksOffExponentially(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const failures = 200
		to := &script{}
		for range failures {
			to.errs = append(to.errs, errors.New("boom"))
		}
		log, hook := quietLogger()
		s, err := NewRetryingSink(to, RetryConfig{Backoff: time.Second, MaxBackoff: time.Minute, Logger: log})
		require.NoError(t, err)
		require.NoError(t, s.Write(t.Context(), NewEvent(ActionPush)))

		require.Len(t, to.attempts, failures+1)
		var sum time.Duration
		for i := range failures {
			delay := to.attempts[i+1].Sub(to.attempts[i])
			assert.Positive(t, delay)
			assert.LessOrEqual(t, delay, min(time.Minute, time.Second<<min(i, 6)))
			if i > 10 {
				sum += delay
			}
		}
		mean := sum / (failures - 11)
		assert.InDelta(t, float64(30*time.Second), float64(mean), float64(10*time.Second), "full jitter at the ceiling")

		// The same failure over and over is two lines.
		require.Len(t, hook.AllEntries(), 2)
		assert.Equal(t, logrus.WarnLevel, hook.AllEntries()[0].Level)
		assert.Equal(t, failures, hook.LastEntry().Data["failures"])
	})
}

func TestRetryBecomesOneProbeAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &script{takes: time.Second}
		for range 40 {
			to.errs = append(to.errs, errors.New("boom"))
		}
		log, _ := quietLogger()
		s, err := NewRetryingSink(to, RetryConfig{Threshold: 8, Backoff: time.Second, MaxBackoff: time.Second, Logger: log})
		require.NoError(t, err)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { assert.NoError(t, s.Write(t.Context(), NewEvent(ActionPush))) })
		}
		time.Sleep(2 * time.Second) // all eight have failed once: that is the threshold
		synctest.Wait()
		to.mu.Lock()
		assert.Equal(t, 8, to.most)
		to.most = 0
		to.mu.Unlock()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		to.mu.Lock()
		assert.Equal(t, 1, to.most, "attempts at once, past the threshold")
		to.mu.Unlock()
		wg.Wait()
	})
}

func TestRetryStopsWhereTheEndpointIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &script{errs: []error{status(Gone, http.StatusGone, 0)}}
		log, hook := quietLogger()
		s, err := NewRetryingSink(to, RetryConfig{Logger: log})
		require.NoError(t, err)
		done := make(chan error)
		go func() { done <- s.Write(context.Background(), NewEvent(ActionPush)) }()
		time.Sleep(1000 * time.Hour)
		synctest.Wait()
		assert.Len(t, to.attempts, 1)
		assert.Equal(t, logrus.ErrorLevel, hook.LastEntry().Level)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.NoError(t, s.Close(ctx))
		assert.ErrorIs(t, <-done, ErrSinkClosed)
	})
}

func TestRetryGivesUpWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := new(sinktest.Fake)
		f.Fail(-1, errors.New("boom"))
		log, _ := quietLogger()
		s, err := NewRetryingSink(f, RetryConfig{Logger: log})
		require.NoError(t, err)
		cause := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, cause)
		defer cancel()
		assert.ErrorIs(t, s.Write(ctx, NewEvent(ActionPush)), cause)
	})
}

func TestRetryGivesUpWhenTheSinkIsClosed(t *testing.T) {
	f := new(sinktest.Fake)
	s, err := NewRetryingSink(f, RetryConfig{})
	require.NoError(t, err)
	require.NoError(t, f.Close(t.Context()))
	assert.ErrorIs(t, s.Write(t.Context(), NewEvent(ActionPush)), ErrSinkClosed)
}

func TestRetryConfigBadInput(t *testing.T) {
	for want, c := range map[string]RetryConfig{
		"threshold: -1":  {Threshold: -1},
		"backoff: -1s":   {Backoff: -time.Second},
		"maxbackoff: -1": {MaxBackoff: -1},
		"maxbackoff: 1s: allowed is the backoff, 2s, and above": {Backoff: 2 * time.Second, MaxBackoff: time.Second},
	} {
		_, err := NewRetryingSink(new(sinktest.Fake), c)
		assert.ErrorContains(t, err, want)
	}
	_, err := NewRetryingSink(nil, RetryConfig{})
	assert.Error(t, err)
}
