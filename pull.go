package notifications

import (
	"context"
	"net/http"

	"github.com/distribution/distribution/v3"
	"github.com/opencontainers/go-digest"

	"github.com/registry-notifications/notifications/internal/byterange"
)

// pullsManifest says whether a client gets a manifest, and not only asks for it. A server
// says "not modified" when it has the manifest at hand already, so the client's condition
// tells.
func (b *Bridge) pullsManifest(ctx context.Context, dgst digest.Digest) bool {
	_, r := requestFrom(ctx)
	if r == nil {
		return true
	}
	if r.Method == http.MethodHead && !b.config.CountHEAD {
		return false
	}
	for _, etag := range r.Header["If-None-Match"] {
		if etag == string(dgst) || etag == `"`+string(dgst)+`"` {
			return false
		}
	}
	return true
}

// pullsBlob says whether a client gets a blob, and for the first time: a distribution
// server has answered by now, and its context says how.
func (b *Bridge) pullsBlob(ctx context.Context, desc distribution.Descriptor) bool {
	_, r := requestFrom(ctx)
	if r == nil {
		return true
	}
	status, _ := ctx.Value("http.response.status").(int) // zero if nobody knows
	switch status {
	case 0, http.StatusOK, http.StatusPartialContent, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect:
	default:
		return false // not modified, a condition that failed, a range that there is none of
	}
	switch {
	case r.Method == http.MethodHead:
		return b.config.CountHEAD
	case status == http.StatusOK:
		written, known := ctx.Value("http.response.written").(int64)
		return !known || written >= desc.Size
	}
	return byterange.HasFirst(r.Header.Get("Range"), desc.Size)
}
