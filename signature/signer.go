package signature

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Signer signs webhooks with one key or several. It does not change; all may use it
// at once.
type Signer struct {
	keys []Key
}

// NewSigner returns a Signer that signs with each of the keys in turn, so that a
// receiver that has one of them can verify. It takes one to eight keys; a key that
// can only verify is an error for which errors.Is finds ErrCannotSign.
func NewSigner(keys ...Key) (*Signer, error) {
	own, err := checkKeys(keys)
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	for i, k := range own {
		if !k.CanSign() {
			return nil, fmt.Errorf("signature: keys[%d]: %w", i, ErrCannotSign)
		}
	}
	return &Signer{own}, nil
}

// checkKeys returns a copy of the keys.
func checkKeys(keys []Key) ([]Key, error) {
	if len(keys) == 0 || len(keys) > maxKeys {
		return nil, fmt.Errorf("keys: %d: allowed are 1 to %d", len(keys), maxKeys)
	}
	for i, k := range keys {
		if k.k == nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, errNoKey)
		}
	}
	return append([]Key(nil), keys...), nil
}

// Sign sets Webhook-Id, Webhook-Timestamp and Webhook-Signature on h. It is called
// for each attempt: id stays the same, at is the time of the attempt, of which the
// scheme carries the seconds.
//
// An id is 1 to 256 bytes of visible ASCII without a dot; the time is between 1970
// and the year 33658. Anything else is an error, and h stays as it was. The body is
// only read, and by nobody after Sign has returned; it is copied only for Ed25519.
func (s *Signer) Sign(h http.Header, id string, at time.Time, body []byte) error {
	if h == nil {
		return errors.New("signature: header: nil: allowed is a header that can be written to")
	}
	if err := checkID(id); err != nil {
		return fmt.Errorf("signature: id: %w", err)
	}
	seconds := at.Unix()
	if seconds < 0 || seconds > maxSeconds {
		return fmt.Errorf("signature: time: %d seconds since 1970: allowed are 0 to %d", seconds, int64(maxSeconds))
	}

	m := newMessage(id, seconds, body)
	defer m.release()
	m.text = m.text[:0]
	for i, k := range s.keys {
		if i > 0 {
			m.text = append(m.text, ' ')
		}
		m.text = k.k.sign(m.text, m)
	}

	// One slice for the three. Full slices: an Add must not write over the next one.
	values := []string{id, strconv.FormatInt(seconds, 10), string(m.text)}
	h[HeaderID], h[HeaderTimestamp], h[HeaderSignature] = values[0:1:1], values[1:2:2], values[2:3:3]
	return nil
}
