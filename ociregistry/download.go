package ociregistry

import (
	"net/http"

	"github.com/opencontainers/go-digest"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/internal/byterange"
	"github.com/registry-notifications/notifications/internal/downloads"
)

func (h *handler) getBlob(w http.ResponseWriter, r *http.Request, to route) {
	answer := h.serve(w, r, nothing)
	dgst, head := digest.Digest(to.reference), r.Method == http.MethodHead
	known, _ := h.sizes.Get(dgst)
	size, ok := int64(0), false
	switch answer.status {
	case http.StatusOK:
		size = answer.length()
		ok = head || h.came(r, to, byterange.Part{From: 0, To: size}, size, answer)
	case http.StatusPartialContent:
		part, total, single := byterange.ParseContent(answer.Header().Get("Content-Range"))
		if !answer.encoded() {
			size = total
		}
		switch {
		case head:
			ok = true
		case single:
			ok = h.came(r, to, part, total, answer)
		default:
			ok = answer.isWhole() && byterange.HasFirst(r.Header.Get("Range"), known)
		}
	case http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect:
		ok = h.isAtStorage(r, to, answer.Header()) && (head || byterange.HasFirst(r.Header.Get("Range"), known))
	}
	switch {
	case size <= 0:
		size = known
	case size != known:
		h.learn(dgst, size)
	}
	if !ok || head && !h.config.CountHEAD {
		return
	}
	mediaType := octets
	if answer.status == http.StatusOK {
		mediaType = mediaTypeOf(answer.Header(), octets)
	}
	h.bridge.Report(r, notifications.ActionPull, notifications.Target{
		Type: notifications.TypeBlob, MediaType: mediaType, Digest: dgst, Size: size, Repository: to.name,
	})
}

// came says whether a part of a blob, as it has come to its client, makes a pull. The total
// is how large all of it is, in bytes, or zero if nobody knows.
func (h *handler) came(r *http.Request, to route, part byterange.Part, total int64, answer *response) bool {
	return h.downloads.IsPull(r, to.name, digest.Digest(to.reference), downloads.Answer{
		Part: part, Total: total, Whole: answer.isWhole(), Sent: answer.written, More: answer.unsure,
	})
}
