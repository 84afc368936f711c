package notifications

import (
	"context"
	"net/http"

	"github.com/distribution/distribution/v3"
	"github.com/opencontainers/go-digest"

	"github.com/registry-notifications/notifications/internal/byterange"
	"github.com/registry-notifications/notifications/internal/downloads"
)

// pullsManifest says whether a client gets a manifest, and not only asks for it. A server
// says "not modified" when it has the manifest at hand already, so the client's condition
// tells.
func (b *Bridge) pullsManifest(c call, dgst digest.Digest) bool {
	r := c.request
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
func (b *Bridge) pullsBlob(ctx context.Context, c call, desc distribution.Descriptor) bool {
	r := c.request
	if r == nil {
		return true
	}
	status, _ := ctx.Value("http.response.status").(int) // zero if nobody knows
	switch status {
	case 0, http.StatusOK, http.StatusPartialContent, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect:
	default:
		return false // not modified, a condition that failed, a range that there is none of
	}
	if r.Method == http.MethodHead {
		return b.config.CountHEAD
	}
	ranges := r.Header.Get("Range")
	part, isOne := byterange.Part{To: desc.Size}, status == http.StatusOK
	if status == http.StatusPartialContent {
		part, isOne = byterange.Asked(ranges, desc.Size)
	}
	written, known := ctx.Value("http.response.written").(int64)
	if !isOne || !known {
		return status == http.StatusOK || byterange.HasFirst(ranges, desc.Size)
	}
	return b.downloads.IsPull(r, c.name, desc.Digest, downloads.Answer{
		Part: part, Total: desc.Size, Sent: written, Whole: written >= part.To-part.From,
	})
}
