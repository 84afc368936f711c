package receiver

import (
	"net/http"
	"strconv"
	"time"
)

// answer is what the sender is told, and why. A nil answer is 200.
//
// 200 and not 202: what was asked for is done. The reason is for people at the other end,
// and says nothing of what is behind the receiver.
type answer struct {
	status     int
	reason     string
	header     [2]string     // one more header, if its name is not empty
	retryAfter time.Duration // zero: it is for the sender to know
}

// How long a sender is asked to stay away. Senders add a random part of their own, or wait
// longer anyway.
const (
	busyFor    = time.Second
	closingFor = 5 * time.Second // a new process comes in the meantime
)

func refused(status int, reason string) *answer { return &answer{status: status, reason: reason} }

func busy(reason string) *answer {
	return &answer{status: http.StatusTooManyRequests, reason: reason, retryAfter: busyFor}
}

func closing() *answer {
	return &answer{status: http.StatusServiceUnavailable, reason: "the receiver is closing", retryAfter: closingFor}
}

// unauthorized is the same whatever was wrong: an answer that tells a bad signature from a
// bad value helps whoever tries. RFC 9110 (15.5.2) wants a challenge; Standard Webhooks has
// no scheme of authentication that has a name.
func unauthorized() *answer {
	return &answer{
		status: http.StatusUnauthorized, reason: "not signed by a known key, and no known authorization",
		header: [2]string{"WWW-Authenticate", `Webhook realm="registry events"`},
	}
}

func tooLarge(reason string) *answer {
	return refused(http.StatusRequestEntityTooLarge, reason)
}

func (a *answer) code() int {
	if a == nil {
		return http.StatusOK
	}
	return a.status
}

func (a *answer) write(w http.ResponseWriter) {
	if a == nil {
		w.WriteHeader(http.StatusOK)
		return
	}
	h := w.Header()
	if a.header[0] != "" {
		h.Set(a.header[0], a.header[1])
	}
	if a.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(a.retryAfter/time.Second)))
	}
	http.Error(w, a.reason, a.status)
}
