package notifications_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/distribution/distribution/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// answered is a context of a distribution server that has answered.
type answered struct {
	context.Context
	status  int
	written int64
}

func (a answered) Value(key any) any {
	switch key {
	case "http.response.status":
		return a.status
	case "http.response.written":
		return a.written
	}
	return a.Context.Value(key)
}

// TestWhatIsAPull: one download is one pull, and nothing else is.
func TestWhatIsAPull(t *testing.T) {
	f := new(sinktest.Fake)
	bridge := newBridge(t, f, BridgeConfig{})
	counting := newBridge(t, f, BridgeConfig{CountHEAD: true})
	heard := func(b *Bridge, tell func(context.Context) error, ctx context.Context, method, header, value string) bool {
		t.Helper()
		r, err := http.NewRequest(method, "http://registry.example.org/v2/", nil)
		require.NoError(t, err)
		if header != "" {
			r.Header.Set(header, value)
		}
		before := len(f.Events())
		require.NoError(t, tell(ContextWithRequest(ctx, "id", r)))
		return len(f.Events()) > before
	}
	manifest := func(b *Bridge, method, header, value string) bool {
		t.Helper()
		return heard(b, func(ctx context.Context) error {
			return b.ManifestPulled(ctx, someName, someDigest, fakeManifest{}, "")
		}, t.Context(), method, header, value)
	}
	assert.True(t, manifest(bridge, "GET", "", ""))
	assert.False(t, manifest(bridge, "HEAD", "", ""))
	assert.True(t, manifest(counting, "HEAD", "", ""))
	assert.False(t, manifest(bridge, "GET", "If-None-Match", string(someDigest)))
	assert.False(t, manifest(bridge, "GET", "If-None-Match", `"`+string(someDigest)+`"`))
	assert.False(t, manifest(counting, "HEAD", "If-None-Match", `"`+string(someDigest)+`"`))
	assert.True(t, manifest(bridge, "GET", "If-None-Match", `"sha256:other"`))
	assert.True(t, manifest(bridge, "GET", "If-None-Match", `"sha256:other", "`+string(someDigest)+`"`), "a distribution server reads no list")

	blob := func(b *Bridge, method, ranges string, status int, written int64) bool {
		t.Helper()
		header := ""
		if ranges != "" {
			header = "Range"
		}
		return heard(b, func(ctx context.Context) error {
			return b.BlobPulled(ctx, someName, distribution.Descriptor{Digest: someDigest, Size: 100})
		}, answered{t.Context(), status, written}, method, header, ranges)
	}
	assert.True(t, blob(bridge, "GET", "", 200, 100))
	assert.True(t, blob(bridge, "GET", "bytes=50-", 200, 100), "a server may ignore the range")
	assert.False(t, blob(bridge, "GET", "", 200, 99), "cut short")
	assert.False(t, blob(bridge, "HEAD", "", 200, 0))
	assert.True(t, blob(counting, "HEAD", "", 200, 0))
	assert.False(t, blob(bridge, "GET", "", 304, 0))
	assert.True(t, blob(bridge, "GET", "bytes=0-9", 206, 10))
	assert.False(t, blob(bridge, "GET", "bytes=10-19", 206, 10))
	assert.False(t, blob(bridge, "GET", "bytes=90-", 206, 10))
	assert.True(t, blob(bridge, "GET", "bytes=10-19, 0-4", 206, 200))
	assert.True(t, blob(bridge, "GET", "bytes=-100", 206, 100))
	assert.False(t, blob(bridge, "GET", "bytes=-99", 206, 99))
	assert.False(t, blob(bridge, "GET", "", 412, 0))
	assert.False(t, blob(bridge, "GET", "lines=0-4", 416, 0))
	assert.False(t, blob(bridge, "GET", "bytes=0-a", 416, 0))
	assert.False(t, blob(counting, "HEAD", "", 304, 0))
	assert.True(t, blob(bridge, "GET", "", 0, 0), "nobody knows")
	assert.True(t, blob(bridge, "GET", "", 307, 50), "it is served elsewhere")
	assert.False(t, blob(bridge, "GET", "bytes=10-", 307, 50))

	// Where nobody knows the answer, the client's condition tells; where it is known, it tells.
	conditional := func(method string, status int, written int64, etag string) bool {
		t.Helper()
		return heard(counting, func(ctx context.Context) error {
			return counting.BlobPulled(ctx, someName, distribution.Descriptor{Digest: someDigest, Size: 100})
		}, answered{t.Context(), status, written}, method, "If-None-Match", etag)
	}
	assert.False(t, conditional("GET", 0, 0, `"`+string(someDigest)+`"`))
	assert.False(t, conditional("GET", 0, 0, string(someDigest)))
	assert.False(t, conditional("HEAD", 0, 0, `"`+string(someDigest)+`"`))
	assert.True(t, conditional("GET", 0, 0, `"sha256:other"`))
	assert.True(t, conditional("HEAD", 0, 0, `"sha256:other"`))
	assert.True(t, conditional("GET", 200, 100, `"`+string(someDigest)+`"`), "a server may ignore the condition")
	assert.True(t, conditional("GET", 307, 0, `"`+string(someDigest)+`"`))
	assert.False(t, conditional("GET", 304, 0, `"sha256:other"`))

	// A download that breaks off, and goes on later, is one.
	assert.False(t, blob(bridge, "GET", "", 200, 40))
	assert.False(t, blob(bridge, "GET", "bytes=40-", 206, 20))
	assert.False(t, blob(bridge, "GET", "bytes=70-", 206, 30), "a part is missing")
	assert.True(t, blob(bridge, "GET", "bytes=60-", 206, 40))
	assert.False(t, blob(bridge, "GET", "bytes=60-", 206, 40), "it was over")
	assert.False(t, blob(bridge, "GET", "bytes=0-49", 206, 10))
	assert.True(t, blob(bridge, "GET", "bytes=10-100", 206, 90))

	require.NoError(t, bridge.BlobPulled(t.Context(), someName, distribution.Descriptor{Digest: someDigest}))
}

// TestWhoGoesOnBehindAProxy: a client is where the trusted proxy says, as in its events.
func TestWhoGoesOnBehindAProxy(t *testing.T) {
	f := new(sinktest.Fake)
	bridge := newBridge(t, f, BridgeConfig{TrustedProxies: 1})
	get := func(proxy, client, ranges string, status int, written int64) int {
		t.Helper()
		r, err := http.NewRequest(http.MethodGet, "http://registry.example.org/v2/", nil)
		require.NoError(t, err)
		r.RemoteAddr = proxy
		r.Header.Set("X-Forwarded-For", client)
		r.Header.Set("Range", ranges)
		assert.Equal(t, client, bridge.ClientAddr(r))
		ctx := ContextWithRequest(answered{t.Context(), status, written}, "id", r)
		require.NoError(t, bridge.BlobPulled(ctx, someName, distribution.Descriptor{Digest: someDigest, Size: 100}))
		return len(f.Events())
	}
	assert.Zero(t, get("10.0.0.1:1000", "203.0.113.1", "", 200, 40))
	assert.Zero(t, get("10.0.0.1:1000", "203.0.113.2", "bytes=40-", 206, 60), "another client of the same proxy")
	assert.Equal(t, 1, get("10.0.0.2:1000", "203.0.113.1", "bytes=40-", 206, 60), "the same, through another proxy")
	assert.Equal(t, "203.0.113.1", f.Events()[0].Request.Addr)
}
