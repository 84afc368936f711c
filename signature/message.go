package signature

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
)

// The three headers of a signed webhook, as net/http writes their names.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

// What a signature begins with.
const (
	versionHMAC    = "v1"
	versionEd25519 = "v1a"
)

const (
	// maxID bounds an id, in bytes.
	maxID = 256

	// maxSeconds bounds a timestamp, and maxDigits is how many digits it has.
	maxSeconds = 999_999_999_999
	maxDigits  = 12

	// maxKept is how large a joined message the pool may hold on to, in bytes: an
	// envelope of the default size, its head, and what an allocation is rounded up by.
	maxKept = 1<<20 + 16<<10
)

// message is what is signed, id.timestamp.body (Standard Webhooks, "Signature
// scheme"), and the space to do it in.
type message struct {
	head  []byte // id.timestamp.
	body  []byte // the caller's
	whole []byte // head and body, if joined was called
	sum   []byte
	text  []byte
}

var messages = sync.Pool{New: func() any { return new(message) }}

// newMessage returns a message that is good until its release.
func newMessage(id string, seconds int64, body []byte) *message {
	m := messages.Get().(*message)
	m.head = append(append(m.head[:0], id...), '.')
	m.head = append(strconv.AppendInt(m.head, seconds, 10), '.')
	m.body = body
	return m
}

func (m *message) release() {
	m.body, m.whole = nil, m.whole[:0]
	if cap(m.whole) > maxKept {
		m.whole = nil
	}
	messages.Put(m)
}

// joined returns the message in one piece, for Ed25519: it goes over the message
// twice (RFC 8032, 5.1.6), so that there is no way to give it in parts.
func (m *message) joined() []byte {
	if len(m.whole) == 0 {
		m.whole = append(append(m.whole, m.head...), m.body...)
	}
	return m.whole
}

// checkID refuses an id that could make the same signed bytes from another body (a
// dot), or that does not come out of a header as it went in.
func checkID(id string) error {
	if id == "" {
		return errors.New("empty: allowed is visible ASCII without a dot")
	}
	if len(id) > maxID {
		return fmt.Errorf("%d bytes: allowed are %d", len(id), maxID)
	}
	for i, c := range []byte(id) {
		if c <= ' ' || c > '~' || c == '.' {
			return fmt.Errorf("byte %#02x at %d: allowed is visible ASCII without a dot", c, i)
		}
	}
	return nil
}
