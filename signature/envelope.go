package signature

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
)

// envelopeBytes is how much of the SHA-256 is in an envelope's id: 192 bits, which
// base64 writes without a rest.
const envelopeBytes = 24

// EnvelopeID returns the id of an envelope with the events of these IDs, in this
// order: "msg_" and 32 characters of A-Z, a-z, 0-9, - and _. The same events in the
// same order have the same id, in every process and for ever; any others have
// another one.
func EnvelopeID(eventIDs ...string) string {
	var e EnvelopeHash
	for _, id := range eventIDs {
		e.Add(id)
	}
	return e.ID()
}

// EnvelopeHash makes EnvelopeID of one event after the other, without an allocation
// for each. The zero value is ready to use. It is for one goroutine at a time.
type EnvelopeHash struct {
	hash hash.Hash
	buf  []byte
}

// Add appends the ID of an event.
func (e *EnvelopeHash) Add(eventID string) {
	if e.hash == nil {
		e.hash = sha256.New()
	}
	// The length goes first: "a", "bc" is not "ab", "c".
	e.buf = binary.BigEndian.AppendUint64(e.buf[:0], uint64(len(eventID)))
	e.buf = append(e.buf, eventID...)
	e.hash.Write(e.buf)
}

// ID returns the id of the envelope with the events so far. More can be added.
func (e *EnvelopeHash) ID() string {
	if e.hash == nil {
		e.hash = sha256.New()
	}
	e.buf = e.hash.Sum(e.buf[:0])
	return "msg_" + base64.RawURLEncoding.EncodeToString(e.buf[:envelopeBytes])
}

// Reset begins another envelope.
func (e *EnvelopeHash) Reset() {
	if e.hash != nil {
		e.hash.Reset()
	}
}
