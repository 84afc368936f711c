package ociregistry

import (
	"net"
	"net/http"

	"github.com/opencontainers/go-digest"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/internal/byterange"
)

// download is a client's download of a blob, as far as two requests can be known to be of
// the same. What is kept of one that broke off is the part that it has still to get, at
// least: its client may have more than was heard of, and goes on behind that.
type download struct {
	repository string
	digest     digest.Digest
	host       string
	agent      string
}

func downloadOf(r *http.Request, to route) download {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return download{to.name, digest.Digest(to.reference), host, r.UserAgent()}
}

func (h *handler) getBlob(w http.ResponseWriter, r *http.Request, to route) {
	answer := h.serve(w, r, nothing)
	dgst, head := digest.Digest(to.reference), r.Method == http.MethodHead
	known, _ := h.sizes.get(dgst)
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
		ok = elsewhere(r, answer.Header().Get("Location")) && (head || byterange.HasFirst(r.Header.Get("Range"), known))
	}
	if size > 0 {
		h.sizes.put(dgst, size)
	} else {
		size = known
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

// came says whether a part of a blob, as it has come to its client, makes a pull: the
// part with the first byte does, and so does what a download was missing that broke off.
// The total is how large all of it is, in bytes, or zero if nobody knows.
func (h *handler) came(r *http.Request, to route, part byterange.Part, total int64, answer *response) bool {
	if part.From == 0 && answer.isWhole() {
		if h.partial.size() > 0 {
			h.partial.take(downloadOf(r, to))
		}
		return true
	}
	if part.From > 0 && h.partial.size() == 0 {
		return false
	}
	key := downloadOf(r, to)
	begun, resumed := h.partial.get(key)
	if part.From == 0 {
		begun = part
	}
	if begun.To == 0 {
		begun.To = total
	}
	reached := part.From + answer.written
	switch {
	case part.From > 0 && (!resumed || part.From > begun.From):
	case answer.isWhole() && begun.To > 0 && reached >= begun.To:
		h.partial.take(key)
		return true
	default:
		has := max(begun.From, reached+answer.unsure)
		if begun.To > 0 {
			has = min(has, begun.To-1) // it is not all
		}
		h.partial.put(key, byterange.Part{From: has, To: begun.To})
	}
	return false
}
