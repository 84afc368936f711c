package notifications

import (
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestGateKeepsTheStrongestState, whatever comes back of several attempts at once.
func TestGateKeepsTheStrongestState(t *testing.T) {
	logger, _ := test.NewNullLogger()
	config := RetryConfig{Logger: logrus.NewEntry(logger)}
	require.NoError(t, config.setDefaults())
	failure := func(kind FailureKind, after time.Duration) error {
		return &DeliveryError{Kind: kind, RetryAfter: after}
	}

	g := newGate(config)
	g.failed(failure(Gone, 0))
	g.failed(failure(Transient, 0))
	assert.Equal(t, State{Phase: Stopped, Reason: ReasonGone}, g.current())
	g.succeeded()
	assert.Equal(t, Stopped, g.current().Phase)
	g.resume()
	assert.Equal(t, State{Phase: Running}, g.current())

	g.failed(failure(Transient, time.Hour))
	g.failed(failure(Transient, 0))
	assert.Equal(t, ReasonRetryAfter, g.current().Reason)
	assert.Greater(t, time.Until(g.current().Until), 50*time.Minute)
	g.succeeded()
	assert.Equal(t, State{Phase: Running}, g.current())

	g.pause()
	g.failed(failure(Transient, 0))
	assert.Equal(t, State{Phase: Stopped, Reason: ReasonPaused}, g.current())
	g.resume()
	g.closed()
	g.resume()
	assert.Equal(t, State{Phase: Stopped, Reason: ReasonClosed}, g.current())
}

func TestReplacerTakesTheLongestFirst(t *testing.T) {
	for range 20 {
		r := replacer([]string{"abc", "abcdef-very-secret", "Bearer token-1", "x"})
		assert.Equal(t, "[redacted] [redacted] [redacted] x", r.Replace("abcdef-very-secret abc token-1 x"))
	}
}
