package receiver

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/signature"
)

// access says who may send. It does not change.
type access struct {
	verifier *signature.Verifier // nil: no signature is looked at

	// Hashes of the allowed values, so that they are compared in a time that says nothing
	// of them, their lengths included.
	values [][sha256.Size]byte
}

func newAccess(c *Config) (*access, error) {
	a := new(access)
	for _, value := range c.Authorization {
		a.values = append(a.values, sha256.Sum256([]byte(value)))
	}
	if len(c.Keys) > 0 {
		verifier, err := signature.NewVerifier(signature.VerifierConfig{Keys: c.Keys, Tolerance: c.Tolerance})
		if err != nil {
			// It names the key, and shows nothing of it.
			return nil, fmt.Errorf("receiver: %w", &notifications.ConfigError{Err: errors.Unwrap(err)})
		}
		a.verifier = verifier
	}
	return a, nil
}

func (a *access) isOpen() bool { return a.verifier == nil && len(a.values) == 0 }

// byHeader says whether a request is allowed whatever its body is.
func (a *access) byHeader(h http.Header) bool {
	if a.isOpen() {
		return true
	}
	given := h["Authorization"]
	if len(given) != 1 {
		return false // with two, a proxy might have checked the other one
	}
	sum, equal := sha256.Sum256([]byte(given[0])), 0
	for _, value := range a.values {
		equal |= subtle.ConstantTimeCompare(value[:], sum[:])
	}
	return equal == 1
}

// isSigned says whether it is worth to read a body because of its signature: whoever has
// not even the header of one must not get memory for it.
func (a *access) isSigned(h http.Header) bool {
	return a.verifier != nil && len(h[signature.HeaderSignature]) > 0
}
