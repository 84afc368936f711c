package signature

import (
	"crypto/ed25519"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// What Verify's error is, by errors.Is. None of them is worth a different answer to
// the sender than another.
var (
	// ErrMissingHeader: one of the three headers is not there, or empty.
	ErrMissingHeader = errors.New("signature: missing header")

	// ErrBadHeader: a header comes twice, is too long, or an id that is none.
	ErrBadHeader = errors.New("signature: bad header")

	// ErrBadTimestamp: not a number of seconds.
	ErrBadTimestamp = errors.New("signature: bad timestamp")

	// ErrTooOld and ErrTooNew: sent at a time that is not within the tolerance. It is
	// recorded and sent again, was long on its way, or a clock is wrong.
	ErrTooOld = errors.New("signature: too old")
	ErrTooNew = errors.New("signature: too new")

	// ErrNoMatch: none of the signatures is one that a key made for this id, time and
	// body.
	ErrNoMatch = errors.New("signature: no matching signature")
)

// DefaultTolerance is what a Verifier allows if nothing else is said.
const DefaultTolerance = 5 * time.Minute

// What is looked at of a signature header: whoever has no key must not get much work
// done for it. An HMAC is made once for each key of the receiver's, however many there
// are to compare it with. A signature of Ed25519 costs a pass over the body for each
// key, so that there are fewer of them.
const (
	maxHeader     = 4096 // bytes
	maxSignatures = 32
	maxEd25519    = maxKeys
)

// VerifierConfig is the configuration of a Verifier.
type VerifierConfig struct {
	// Keys are the one to eight keys of which any may have signed. Every kind of key
	// verifies.
	Keys []Key

	// Tolerance is how far the time of an attempt may be from now, before or after.
	// Zero means 5m.
	Tolerance time.Duration
}

// Verifier verifies webhooks. It does not change; all may use it at once.
type Verifier struct {
	keys      []Key
	tolerance time.Duration
	now       func() time.Time
}

// NewVerifier returns a Verifier. The error names the field, its value and what is
// allowed.
func NewVerifier(config VerifierConfig) (*Verifier, error) {
	keys, err := checkKeys(config.Keys)
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	if config.Tolerance < 0 {
		return nil, fmt.Errorf("signature: tolerance: %v: allowed is zero, which means %v, and more", config.Tolerance, DefaultTolerance)
	}
	v := &Verifier{keys: keys, tolerance: config.Tolerance, now: time.Now}
	if v.tolerance == 0 {
		v.tolerance = DefaultTolerance
	}
	return v, nil
}

// Verify returns nil if one of the keys signed this id, time and body, and the time
// is within the tolerance. The error otherwise is, by errors.Is, one of
// ErrMissingHeader, ErrBadHeader, ErrBadTimestamp, ErrTooOld, ErrTooNew and
// ErrNoMatch; of what the sender wrote it shows numbers at most.
//
// body is what came, byte for byte: JSON that was decoded and encoded again is
// another one. Its size is for the caller to bound. It is only read.
//
// Signatures are compared in constant time. Those of versions that are not known are
// passed over. Of a header, 4 KiB are allowed and the first 32 signatures are looked
// at, of which 8 may be of Ed25519. Each of the three headers may come only once:
// with two ids, the one that was verified might not be the one that is used.
func (v *Verifier) Verify(h http.Header, body []byte) error {
	id, err := single(h, HeaderID)
	if err != nil {
		return err
	}
	timestamp, err := single(h, HeaderTimestamp)
	if err != nil {
		return err
	}
	signatures, err := single(h, HeaderSignature)
	if err != nil {
		return err
	}
	if err := checkID(id); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrBadHeader, HeaderID, err)
	}
	if len(signatures) > maxHeader {
		return fmt.Errorf("%w: %s: %d bytes: allowed are %d", ErrBadHeader, HeaderSignature, len(signatures), maxHeader)
	}
	seconds, err := parseTimestamp(timestamp)
	if err != nil {
		return err
	}
	if err := v.checkTime(time.Unix(seconds, 0)); err != nil {
		return err
	}

	m := newMessage(id, seconds, body)
	defer m.release()
	if !v.match(m, signatures) {
		return ErrNoMatch
	}
	return nil
}

func single(h http.Header, name string) (string, error) {
	values := h[name]
	if len(values) > 1 {
		return "", fmt.Errorf("%w: %s: comes %d times: allowed is once", ErrBadHeader, name, len(values))
	}
	if len(values) == 0 || values[0] == "" {
		return "", fmt.Errorf("%w: %s", ErrMissingHeader, name)
	}
	return values[0], nil
}

// parseTimestamp takes what Sign writes and no other way to write the same number.
func parseTimestamp(text string) (int64, error) {
	digits := len(text) <= maxDigits && (text == "0" || text[0] != '0')
	for _, c := range []byte(text) {
		digits = digits && '0' <= c && c <= '9'
	}
	if !digits {
		return 0, fmt.Errorf("%w: allowed are the seconds since 1970, in 1 to %d digits", ErrBadTimestamp, maxDigits)
	}
	return strconv.ParseInt(text, 10, 64)
}

func (v *Verifier) checkTime(sent time.Time) error {
	age := v.now().Sub(sent)
	if age > v.tolerance {
		return fmt.Errorf("%w: sent %v ago: allowed are %v", ErrTooOld, age.Round(time.Second), v.tolerance)
	}
	// Not -age: the least Duration, at which Sub ends, has no negative.
	if age < -v.tolerance {
		return fmt.Errorf("%w: sent %v from now: allowed are %v", ErrTooNew, sent.Sub(v.now()).Round(time.Second), v.tolerance)
	}
	return nil
}

func (v *Verifier) match(m *message, signatures string) bool {
	macs := false // whether those of the keys are in m.text, one behind the other
	looked, asymmetric := 0, 0
	for signature := range strings.SplitSeq(signatures, " ") {
		version, encoded, _ := strings.Cut(signature, ",")
		switch {
		case version == versionHMAC && len(encoded) == encodedMAC:
			if !macs {
				v.sum(m)
				macs = true
			}
			if matchMAC(m.text, encoded) {
				return true
			}
		case version == versionEd25519 && len(encoded) == encodedEd25519 && asymmetric < maxEd25519:
			asymmetric++
			if v.matchEd25519(m, encoded) {
				return true
			}
		case version != versionHMAC && version != versionEd25519:
			continue
		}
		if looked++; looked == maxSignatures {
			break
		}
	}
	return false
}

// How long the base64 of a signature is.
const (
	encodedMAC     = 44
	encodedEd25519 = 88
)

// sum writes into m.text what the signature is by each key that makes an HMAC.
func (v *Verifier) sum(m *message) {
	m.text = m.text[:0]
	for _, k := range v.keys {
		if k.k.macs != nil {
			m.text = k.k.mac(m.text, m)
		}
	}
}

// matchMAC compares with all there are, as text: base64 could be written in more
// than one way.
func matchMAC(macs []byte, encoded string) bool {
	var given [encodedMAC]byte
	copy(given[:], encoded)
	equal := 0
	for ; len(macs) > 0; macs = macs[encodedMAC:] {
		equal |= subtle.ConstantTimeCompare(macs[:encodedMAC], given[:])
	}
	return equal == 1
}

func (v *Verifier) matchEd25519(m *message, encoded string) bool {
	var given [encodedEd25519]byte
	var sum [ed25519.SignatureSize + 2]byte // the decoder counts the padding in
	copy(given[:], encoded)
	n, err := base64.StdEncoding.Strict().Decode(sum[:], given[:])
	if err != nil || n != ed25519.SignatureSize {
		return false
	}
	for _, k := range v.keys {
		if k.k.public != nil && ed25519.Verify(k.k.public, m.joined(), sum[:ed25519.SignatureSize]) {
			return true
		}
	}
	return false
}
