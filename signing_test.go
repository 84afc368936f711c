package notifications_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/signature"
	"github.com/registry-notifications/notifications/sinktest"
)

const (
	oldKey = "whsec_b2xkLWtleS1vbGQta2V5LW9sZC1rZXktb2xk"
	newKey = "whsec_bmV3LWtleS1uZXcta2V5LW5ldy1rZXktbmV3"
)

func verifier(t *testing.T, key string) *signature.Verifier {
	k, err := signature.ParseKey(key)
	require.NoError(t, err)
	v, err := signature.NewVerifier(signature.VerifierConfig{Keys: []signature.Key{k}})
	require.NoError(t, err)
	return v
}

// TestSignedDelivery: with either key, at every attempt, under one id.
func TestSignedDelivery(t *testing.T) {
	t.Setenv("WEBHOOK_KEY", newKey)
	r := newReceiver(t)
	posts := 0
	r.answers(func(w http.ResponseWriter, _ *http.Request) {
		if posts++; posts < 4 {
			w.WriteHeader(503)
		}
	})
	e := newEndpoint(t, "hook", r.URL, EndpointConfig{
		SigningKeys: []string{oldKey, "env:WEBHOOK_KEY"},
		Headers:     http.Header{"Webhook-Id": {"forged"}},
	})
	require.NoError(t, e.Write(t.Context(), sinktest.Events("e", 3)...))
	sinktest.Eventually(t, func() bool { return e.Metrics().Delivered == 3 }, "delivered")

	r.mu.Lock()
	defer r.mu.Unlock()
	require.Len(t, r.requests, 4)
	for i, req := range r.requests {
		for _, key := range []string{oldKey, newKey} {
			assert.NoError(t, verifier(t, key).Verify(req.Header, []byte(r.bodies[i])), "attempt %d", i)
		}
		assert.ErrorIs(t, verifier(t, oldKey).Verify(req.Header, []byte(r.bodies[i]+" ")), signature.ErrNoMatch)
		assert.Equal(t, []string{signature.EnvelopeID("e-0", "e-1", "e-2")}, req.Header["Webhook-Id"])
	}
}

func TestUnsignedDelivery(t *testing.T) {
	r := newReceiver(t)
	require.NoError(t, newHTTPSink(t, r.URL, HTTPConfig{}).Write(t.Context(), NewEvent(ActionPush)))
	req, _ := r.last()
	assert.Empty(t, req.Header.Get("Webhook-Signature"))
}
