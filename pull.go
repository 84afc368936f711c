package notifications

import (
	"context"
	"net/http"

	"github.com/distribution/distribution/v3"
	"github.com/opencontainers/go-digest"

	"github.com/registry-notifications/notifications/internal/byterange"
	"github.com/registry-notifications/notifications/internal/downloads"
)

// pullsManifest says whether a client gets a manifest, and not only asks for it. The answer
// is not there yet. A distribution server says "not modified" before it asks for a manifest,
// so there is no call; another may ask first, and with it the client's condition tells.
func (b *Bridge) pullsManifest(c call, dgst digest.Digest) bool {
	r := c.request
	if r == nil {
		return true
	}
	return (r.Method != http.MethodHead || b.config.CountHEAD) && !hasAlready(r, dgst)
}

// hasAlready says whether a request is only for what has changed, and this is what the client
// has: compared as a distribution server does it for a manifest, with quotes or without, and
// not in a list.
func hasAlready(r *http.Request, dgst digest.Digest) bool {
	for _, etag := range r.Header["If-None-Match"] {
		if etag == string(dgst) || etag == `"`+string(dgst)+`"` {
			return true
		}
	}
	return false
}

// pullsBlob says whether a client gets a blob, and for the first time. A distribution server
// has answered by now, and its context says how; of another the answer is not known, and the
// request alone tells.
func (b *Bridge) pullsBlob(ctx context.Context, c call, desc distribution.Descriptor) bool {
	r := c.request
	if r == nil {
		return true
	}
	status, _ := ctx.Value("http.response.status").(int) // zero if nobody knows
	switch status {
	case 0:
		if hasAlready(r, desc.Digest) {
			return false
		}
	case http.StatusOK, http.StatusPartialContent, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect:
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
