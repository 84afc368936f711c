package ociregistry

import (
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/internal/byterange"
)

// session is what is known of an upload that has begun. It does not change: what comes
// next makes another.
type session struct {
	name string // of the repository
	size int64  // what the registry has of it, in bytes; -1 if nobody knows
}

const unknown = -1

// postUpload is an upload that begins, and may end with that: by a mount, or because all
// of the blob comes at once.
func (h *handler) postUpload(w http.ResponseWriter, r *http.Request, to route) {
	body := new(received)
	answer := h.serve(w, body.of(r), nothing)
	if answer.status == http.StatusAccepted {
		if key, ok := h.sessionAt(r, to, answer.Header()); ok {
			h.sessions.Put(key, &session{strings.Clone(to.name), 0})
		}
		return
	}
	if answer.status != http.StatusCreated {
		return
	}
	query := r.URL.Query()
	mounted, dgst, said := query.Get("mount"), query.Get("digest"), createdIn(answer.Header())
	switch read, _ := body.result(0); {
	case isDigest(mounted) && isOf(said, mounted) && (read == 0 || !isDigest(dgst)):
		t := notifications.Target{
			Type: notifications.TypeBlob, MediaType: octets, Digest: digestOf(answer.Header(), mounted), Repository: to.name,
		}
		// A registry that mounts in spite of a name that is none has found the blob by itself,
		// as it does without a name. Where, it does not say.
		if from := query.Get("from"); isName(from) {
			t.FromRepository = from
		}
		t.Size, _ = h.sizes.Get(t.Digest)
		h.bridge.Report(r, notifications.ActionMount, t)
	case isDigest(dgst) && (read > 0 || isOf(said, dgst)):
		size, _ := body.result(r.ContentLength)
		h.pushed(r, to.name, digestOf(answer.Header(), dgst), size, true)
	}
}

// createdIn returns the digest of the blob that an answer has created, by its digest or its
// place, or nothing if it says neither. What a client has asked for is no proof: a registry
// that does not mount leaves that out, and does the rest of the request.
func createdIn(answer http.Header) string {
	location := value(answer, "Location")
	return string(digestOf(answer, location[strings.LastIndexByte(location, '/')+1:]))
}

// isOf says whether an answer can be about a digest: not if it says another of the same
// algorithm. By another algorithm, it can be of the same content.
func isOf(said, dgst string) bool {
	ours, _, _ := strings.Cut(dgst, ":")
	theirs, _, _ := strings.Cut(said, ":")
	return said == dgst || ours != theirs
}

// goOnUpload is a request for an upload that has begun, if it is one: a registry may have
// it anywhere.
func (h *handler) goOnUpload(w http.ResponseWriter, r *http.Request, to route) {
	key := keyOf(r.URL, to)
	was, known := h.sessions.Get(key)
	begun := was
	if !known {
		if to.kind != upload {
			h.next.ServeHTTP(w, r)
			return
		}
		begun = &session{strings.Clone(to.name), unknown} // it passes by here for the first time
	}
	switch r.Method {
	case http.MethodPatch, http.MethodPut:
		h.addUpload(w, r, to, key, begun, known)
	case http.MethodGet:
		answer := h.serve(w, r, nothing)
		// What a part has noted meanwhile is newer.
		if now, _ := h.sessions.Get(key); answer.isSuccess() && now == was {
			size := sizeOf(answer.Header(), begun.size, 0)
			h.goesOn(r, to, key, &session{begun.name, size}, answer.Header())
		}
	case http.MethodDelete:
		if answer := h.serve(w, r, nothing); answer.isSuccess() {
			h.sessions.Take(key)
		}
	default:
		h.next.ServeHTTP(w, r)
	}
}

// addUpload is a request with a part of an upload, or with the last.
func (h *handler) addUpload(w http.ResponseWriter, r *http.Request, to route, key string, begun *session, known bool) {
	// Of a part that fails the registry may have taken some, and two that come at once
	// leave nobody sure of how much it has.
	underway := &session{begun.name, unknown}
	var noted *session // unless something else comes by meanwhile
	if known {
		noted = underway
		h.sessions.Put(key, noted)
	}
	body := new(received)
	answer := h.serve(w, body.of(r), nothing)
	now, _ := h.sessions.Get(key)
	alone, had := now == noted, begun.size
	if !alone {
		had = unknown
	}
	switch more, _ := body.result(r.ContentLength); {
	case !answer.isSuccess():
		if read, _ := body.result(0); known && alone && read == 0 {
			h.sessions.Put(key, begun) // it was refused unread, as when a token has expired
		}
	case r.Method == http.MethodPatch:
		if alone {
			underway = &session{begun.name, sizeOf(answer.Header(), had, more)}
		}
		h.goesOn(r, to, key, underway, answer.Header())
	case answer.status != http.StatusAccepted:
		h.sessions.Take(key)
		if dgst := r.URL.Query().Get("digest"); isDigest(dgst) {
			size, sure := lastSize(r, had, more)
			h.pushed(r, begun.name, digestOf(answer.Header(), dgst), size, sure)
		}
	}
}

// goesOn keeps an upload under where its answer says that it goes on.
func (h *handler) goesOn(r *http.Request, to route, key string, s *session, answer http.Header) {
	to.name = s.name
	if next, ok := h.sessionAt(r, to, answer); ok && next != key {
		h.sessions.Take(key)
		key = next
	}
	h.sessions.Put(key, s)
}

// lastSize returns how large an upload is with its last part, or -1 if nobody knows. Where
// only the client says what had come before, its word has to fit with what came, and is not
// sure.
func lastSize(r *http.Request, had, more int64) (size int64, sure bool) {
	if had >= 0 && more >= 0 {
		return had + more, true
	}
	if part, ok := span(r.Header.Get("Content-Range")); ok && part.To-part.From == more {
		return part.To, false
	}
	return unknown, false
}

// pushed reports a blob that has come. A size below zero is not known, and one that is not
// sure is good for this event alone.
func (h *handler) pushed(r *http.Request, name string, dgst digest.Digest, size int64, sure bool) {
	if sure && size >= 0 {
		h.learn(dgst, size)
	} else if known, ok := h.sizes.Get(dgst); ok {
		size = known
	}
	h.bridge.Report(r, notifications.ActionPush, notifications.Target{
		Type: notifications.TypeBlob, MediaType: octets, Digest: dgst, Size: max(size, 0), Repository: name,
	})
}

// sizeOf returns how much a registry has of an upload: what it says, or else what it had
// and what has come. What it says of the first byte can mean that it has none.
func sizeOf(header http.Header, had, more int64) int64 {
	if had >= 0 && more >= 0 {
		had += more
	} else {
		had = unknown
	}
	switch part, _ := span(header.Get("Range")); {
	case part.To > 1, part.To == 1 && had > 1:
		return part.To
	}
	return had
}

// span returns the bytes that a range of an upload has, "0-99". ok is false if it is none.
func span(v string) (part byterange.Part, ok bool) {
	v = strings.TrimPrefix(strings.TrimPrefix(v, "bytes="), "bytes ")
	v, _, _ = strings.Cut(v, "/")
	first, last, _ := strings.Cut(v, "-")
	from, err1 := strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	if err1 != nil || err2 != nil || from < 0 || to < from || to == math.MaxInt64 {
		return part, false
	}
	return byterange.Part{From: from, To: to + 1}, true
}

// sessionAt returns the key of the upload that an answer's Location leads to.
func (h *handler) sessionAt(r *http.Request, to route, header http.Header) (key string, ok bool) {
	location := header.Get("Location")
	if location == "" {
		return "", false
	}
	u, err := r.URL.Parse(location)
	if err != nil {
		return "", false
	}
	path, ok := strings.CutPrefix(u.Path, h.root)
	if !ok {
		// What is in front may have another prefix than what comes in here.
		_, path, _ = strings.Cut(u.Path, "/v2/")
	}
	if at := parse(path); at.kind == upload && at.name == to.name {
		return keyOf(u, at), true
	}
	return keyOf(u, route{}), true
}

// keyOf returns what an upload is known by: its repository and session, where its URL has
// them as the specification's examples do, or else all of the URL that does not depend on
// the client.
func keyOf(u *url.URL, to route) string {
	if to.kind == upload {
		return to.name + "/" + to.reference
	}
	key := "?" + u.Path
	if u.RawQuery == "" {
		return key
	}
	query := u.Query()
	query.Del("digest")
	if len(query) == 0 {
		return key
	}
	return key + "?" + query.Encode()
}
