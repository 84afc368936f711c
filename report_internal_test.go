package notifications

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"unsafe"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReportKeepsNoRequest: an event that is pending may be kept for days, and with it all
// that it has a piece of.
func TestReportKeepsNoRequest(t *testing.T) {
	path := "/v2/library/app/manifests/v1?" + strings.Repeat("x", 1000)
	dgst := "sha256:" + strings.Repeat("0", 64)
	line := path + dgst
	isPieceOf := func(s, whole string) bool {
		at, from := uintptr(unsafe.Pointer(unsafe.StringData(s))), uintptr(unsafe.Pointer(unsafe.StringData(whole)))
		return s != "" && from <= at && at < from+uintptr(len(whole))
	}
	require.True(t, isPieceOf(line[4:15], line))

	for name, urls := range map[string]URLBuilder{"from the request": nil, "of our own": urlBuilder("https://registry.example.org"), "of nobody": noURLs{}} {
		var got *Event
		b, err := NewBridge(sinkFunc(func(_ context.Context, events ...*Event) error {
			got = events[0]
			return nil
		}), BridgeConfig{URLs: urls})
		require.NoError(t, err)
		r := httptest.NewRequest("PUT", path, nil)
		b.Report(r, ActionPush, Target{
			Type: TypeManifest, Repository: line[4:15], FromRepository: line[4:11], Tag: line[26:28], Digest: digest.Digest(line[len(path):]),
		})
		target := got.Target
		assert.Equal(t, []string{"library/app", "library", "v1", dgst}, []string{target.Repository, target.FromRepository, target.Tag, string(target.Digest)}, name)
		if urls == (noURLs{}) {
			assert.Empty(t, target.URL)
		} else {
			assert.True(t, strings.HasSuffix(target.URL, "/v2/library/app/manifests/"+dgst), "%s: %s", name, target.URL)
		}
		assert.Len(t, got.ID, idLength)
		assert.Len(t, got.Request.ID, idLength)
		assert.NotEqual(t, got.ID, got.Request.ID)
		for _, s := range []string{target.Repository, target.FromRepository, target.Tag, string(target.Digest), target.URL} {
			assert.False(t, isPieceOf(s, line), "%s: %q", name, s)
		}
	}
}

// noURLs is a builder that knows none.
type noURLs struct{}

func (noURLs) BuildManifestURL(reference.Named) (string, error) { return "", errors.New("none") }

func (noURLs) BuildBlobURL(reference.Canonical) (string, error) { return "", errors.New("none") }

type sinkFunc func(ctx context.Context, events ...*Event) error

func (f sinkFunc) Write(ctx context.Context, events ...*Event) error { return f(ctx, events...) }

func (f sinkFunc) Close(context.Context) error { return nil }
