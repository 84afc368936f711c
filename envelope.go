package notifications

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
)

// The media types of an Envelope. Both name the same JSON: version 2 is what
// distribution 3.x sends, version 1 what 2.x sends and what receivers written for
// it may insist on.
const (
	MediaTypeV2 = "application/vnd.docker.distribution.events.v2+json"
	MediaTypeV1 = "application/vnd.docker.distribution.events.v1+json"
)

// DefaultMaxEnvelope is how many bytes DecodeEnvelope reads unless it is told
// otherwise: 16 MiB.
const DefaultMaxEnvelope = 16 << 20

// ErrNotEnvelope is returned for JSON that is not {"events":[…]}.
var ErrNotEnvelope = errors.New("notifications: not an envelope of events")

// ErrEnvelopeTooLarge is returned for a body over the limit.
var ErrEnvelopeTooLarge = errors.New("notifications: envelope too large")

// ErrMediaType is returned for a body that does not claim to be an envelope.
var ErrMediaType = errors.New("notifications: unsupported media type")

// Envelope is what a webhook gets: some events, oldest first.
type Envelope struct {
	Events []*Event
}

// DecodeEnvelope reads one envelope from body, at most maxBytes of it (zero means
// DefaultMaxEnvelope). contentType is the request's Content-Type, with or without
// parameters; it has to be one of the two media types.
//
// The error is ErrMediaType, ErrEnvelopeTooLarge or ErrNotEnvelope (use
// errors.Is), or what reading returned. Unknown fields are not an error.
func DecodeEnvelope(contentType string, body io.Reader, maxBytes int64) (*Envelope, error) {
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil || (mediaType != MediaTypeV2 && mediaType != MediaTypeV1) {
		return nil, fmt.Errorf("%w: %.100q: allowed are %s and %s", ErrMediaType, contentType, MediaTypeV2, MediaTypeV1)
	}
	if maxBytes <= 0 {
		maxBytes = DefaultMaxEnvelope
	}

	// One byte more than allowed tells a body that just fits from one that does not.
	b, err := io.ReadAll(io.LimitReader(body, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("notifications: reading an envelope: %w", err)
	}
	if int64(len(b)) > maxBytes {
		return nil, fmt.Errorf("%w: more than the %d bytes allowed", ErrEnvelopeTooLarge, maxBytes)
	}

	env := new(Envelope)
	if err := env.UnmarshalJSON(b); err != nil {
		return nil, err
	}
	return env, nil
}

// UnmarshalJSON reads an envelope. Each event keeps the bytes it came in.
func (env *Envelope) UnmarshalJSON(b []byte) error {
	var raw struct {
		Events *[]json.RawMessage `json:"events"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return fmt.Errorf("%w: %w", ErrNotEnvelope, err)
	}
	if raw.Events == nil {
		return fmt.Errorf("%w: no list of events", ErrNotEnvelope)
	}

	events := make([]*Event, len(*raw.Events))
	for i, r := range *raw.Events {
		if bytes.Equal(r, []byte("null")) {
			return fmt.Errorf("%w: event %d of %d is null", ErrNotEnvelope, i+1, len(events))
		}
		events[i] = new(Event)
		if err := events[i].UnmarshalJSON(r); err != nil {
			return fmt.Errorf("%w: event %d of %d: %w", ErrNotEnvelope, i+1, len(events), err)
		}
	}
	env.Events = events
	return nil
}

// MarshalJSON returns the envelope in the wire format.
func (env *Envelope) MarshalJSON() ([]byte, error) {
	if err := validate(env.Events); err != nil {
		return nil, err
	}
	b, _, err := appendEnvelope(nil, env.Events, len(env.Events), 0)
	return b, err
}

const (
	envelopeHead = `{"events":[`
	envelopeTail = `]}`
)

// appendEnvelope puts as many events, from the front, into one envelope as
// maxEvents and maxBytes (zero: no limit) allow, and at least one: an event alone
// over the limit is the receiver's to judge. It returns how many there are in it.
func appendEnvelope(dst []byte, events []*Event, maxEvents, maxBytes int) (body []byte, n int, err error) {
	start := len(dst)
	dst = append(dst, envelopeHead...)
	for n < len(events) && n < maxEvents {
		e, err := events[n].encoded()
		if err != nil {
			return nil, n, fmt.Errorf("notifications: event %q: %w", events[n].ID, err)
		}
		if n > 0 {
			if maxBytes > 0 && len(dst)-start+1+len(e)+len(envelopeTail) > maxBytes {
				break
			}
			dst = append(dst, ',')
		}
		dst = append(dst, e...)
		n++
	}
	return append(dst, envelopeTail...), n, nil
}
