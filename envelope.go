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

// MaxEnvelopeEvents is how many events an envelope may have that is decoded. This
// package sends 1024 at most.
const MaxEnvelopeEvents = 1 << 14

// ErrNotEnvelope is returned for JSON that is not {"events":[…]}.
var ErrNotEnvelope = errors.New("notifications: not an envelope of events")

// ErrEnvelopeTooLarge is returned for more bytes or events than are allowed.
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
	d := json.NewDecoder(bytes.NewReader(b))
	events, err := decodeEvents(d)
	if err == nil {
		if _, behind := d.Token(); !errors.Is(behind, io.EOF) {
			err = errors.New("something behind the end")
		}
	}
	switch {
	case errors.Is(err, ErrEnvelopeTooLarge):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", ErrNotEnvelope, err)
	}
	env.Events = events
	return nil
}

// decodeEvents goes through the members of the envelope one by one, and through its
// events one by one, so that what it makes of a body is bounded too: a body full of
// empty events takes hundreds of times its size.
func decodeEvents(d *json.Decoder) (events []*Event, err error) {
	if err := expect(d, json.Delim('{')); err != nil {
		return nil, err
	}
	found := false
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		if name != "events" {
			var other json.RawMessage
			if err := d.Decode(&other); err != nil {
				return nil, err
			}
			continue
		}
		if events, err = decodeList(d); err != nil {
			return nil, err
		}
		found = true
	}
	if err := expect(d, json.Delim('}')); err != nil {
		return nil, err
	}
	if !found {
		return nil, errors.New("no list of events")
	}
	return events, nil
}

func decodeList(d *json.Decoder) (events []*Event, err error) {
	if err := expect(d, json.Delim('[')); err != nil {
		return nil, err
	}
	events = []*Event{}
	for d.More() {
		if len(events) == MaxEnvelopeEvents {
			return nil, fmt.Errorf("%w: more than the %d events allowed", ErrEnvelopeTooLarge, MaxEnvelopeEvents)
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, err
		}
		if string(raw) == "null" {
			return nil, fmt.Errorf("event %d is null", len(events)+1)
		}
		e := new(Event)
		if err := e.UnmarshalJSON(raw); err != nil {
			return nil, fmt.Errorf("event %d: %w", len(events)+1, err)
		}
		events = append(events, e)
	}
	return events, expect(d, json.Delim(']'))
}

func expect(d *json.Decoder, want json.Delim) error {
	switch got, err := d.Token(); {
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	case got != want:
		return fmt.Errorf("%v where %v was expected", got, want)
	}
	return nil
}

// MarshalJSON returns the envelope in the wire format.
func (env *Envelope) MarshalJSON() ([]byte, error) {
	if err := validate(env.Events); err != nil {
		return nil, err
	}
	p, err := newParcel(env.Events, len(env.Events), 0)
	if err != nil {
		return nil, err
	}
	return p.bytes(), nil
}
