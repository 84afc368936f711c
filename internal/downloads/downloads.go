// Package downloads tells one download from another: a content that is got in parts is
// downloaded once, and so is one whose download broke off and was gone on with.
package downloads

import (
	"hash/maphash"
	"net"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/registry-notifications/notifications/internal/byterange"
	"github.com/registry-notifications/notifications/internal/recent"
)

// most is how many downloads that broke off are known at once.
const most = 1 << 10

// Tracker knows of the downloads that broke off. Its methods may be called at once from
// several goroutines.
type Tracker struct {
	addr func(*http.Request) string
	// missing has the part that a client has still to get, at least: it may have got more
	// than was heard of, and goes on behind that.
	missing *recent.Map[download, byterange.Part]
}

// download is a client's download of a content, as far as two requests can be known to be
// of the same.
type download struct {
	repository string
	digest     digest.Digest
	host       string
	agent      uint64 // a hash: a client may call itself anything, at any length
}

var seed = maphash.MakeSeed()

// New returns a tracker that knows of none. addr says where a request comes from, with a
// port or without.
func New(addr func(*http.Request) string) *Tracker {
	return &Tracker{addr, recent.New[download, byterange.Part](most)}
}

// Answer is what a client was sent of a content.
type Answer struct {
	Part  byterange.Part // that was to be sent
	Total int64          // of the content, in bytes; zero if nobody knows
	Whole bool           // all of the part was sent
	Sent  int64          // bytes that were sent
	More  int64          // bytes that may have been sent besides
}

// IsPull says whether an answer makes a pull: the one with the first byte does, and so does
// the one that had what was missing of a download that broke off. Of that only one part is
// remembered, so what is missing has to come in order: a client that leaves a gap and gets it
// later makes none.
func (t *Tracker) IsPull(r *http.Request, repository string, dgst digest.Digest, a Answer) bool {
	first := a.Part.From == 0
	switch {
	case t.missing.Len() > 0:
	case first && a.Whole:
		return true
	case !first:
		return false
	}
	key := download{repository, dgst, t.host(r), maphash.String(seed, r.UserAgent())}
	if first && a.Whole {
		t.missing.Take(key)
		return true
	}
	missing, resumed := t.missing.Get(key)
	if first {
		missing = a.Part
	}
	if missing.To == 0 {
		missing.To = a.Total
	}
	reached := a.Part.From + a.Sent
	switch {
	case !first && (!resumed || a.Part.From > missing.From):
	case a.Whole && missing.To > 0 && reached >= missing.To:
		t.missing.Take(key)
		return true
	default:
		has := max(missing.From, reached+a.More)
		if missing.To > 0 {
			has = min(has, missing.To-1) // it is not all
		}
		// What is kept should not keep the request that it is a piece of.
		key.repository, key.digest, key.host = strings.Clone(repository), digest.Digest(strings.Clone(string(dgst))), strings.Clone(key.host)
		t.missing.Put(key, byterange.Part{From: has, To: missing.To})
	}
	return false
}

func (t *Tracker) host(r *http.Request) string {
	addr := t.addr(r)
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return addr
}
