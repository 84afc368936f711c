package signature

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// FuzzVerify: whatever stands in the headers, only what the signer made is taken, and
// what the signer makes of the same id and body is always taken.
func FuzzVerify(f *testing.F) {
	both := vectorMAC + " " + vectorEd25519
	f.Add(vectorID, "1614265330", both, "", []byte(vectorBody))
	f.Add(vectorID, "1614265330", both, "v1,", []byte(vectorBody))
	f.Add("msg.1", "01614265330", "v1a,"+strings.Repeat("A", 86)+"==", "", []byte(nil))

	signer := signerOf(f, vectorSecret, vectorSeed)
	verifiers := []*Verifier{
		verifierOf(f, vectorTime(), vectorSecret),
		verifierOf(f, vectorTime(), vectorPublic),
		verifierOf(f, vectorTime(), otherPrivate, vectorSeed, otherSecret, vectorSecret),
	}
	known := []error{ErrMissingHeader, ErrBadHeader, ErrBadTimestamp, ErrTooOld, ErrTooNew, ErrNoMatch}

	f.Fuzz(func(t *testing.T, id, timestamp, signature, second string, body []byte) {
		h := headers(id, timestamp, signature)
		if second != "" {
			h.Add(HeaderSignature, second)
		}
		made := http.Header{}
		signed := signer.Sign(made, id, vectorTime(), body) == nil
		before := h.Clone()

		for _, v := range verifiers {
			err := v.Verify(h, body)
			if !slices.ContainsFunc(append(known, nil), func(e error) bool { return errors.Is(err, e) }) {
				t.Fatalf("an error of no kind: %v", err)
			}
			if err != nil {
				continue
			}
			// The time is free within the tolerance: what would the signer have made of it?
			if second != "" || !signed {
				t.Fatalf("taken: %q", h)
			}
			seconds, err := parseTimestamp(timestamp)
			if err != nil || fmt.Sprint(seconds) != timestamp || seconds < vectorSeconds-300 || seconds > vectorSeconds+300 {
				t.Fatalf("taken at %q: %v", timestamp, err)
			}
			m := newMessage(id, seconds, body)
			defer m.release()
			if !slices.ContainsFunc(strings.Split(signature, " "), func(s string) bool {
				return slices.ContainsFunc(signer.keys, func(k Key) bool { return s == string(k.k.sign(nil, m)) })
			}) {
				t.Fatalf("taken, and not made by the signer: %q", h)
			}
		}
		if fmt.Sprint(h) != fmt.Sprint(before) {
			t.Fatalf("the header was changed: %q, was %q", h, before)
		}

		if signed {
			for _, v := range verifiers {
				if err := v.Verify(made, body); err != nil {
					t.Fatalf("what the signer made is refused: %v: %q", err, made)
				}
			}
		}
	})
}

// keyErrors are all there are, with any numbers: nothing of a text is in them.
var keyErrors = regexp.MustCompile(`^signature: (key: (empty|has space around it|unknown form): ` + regexp.QuoteMeta(allowedForms) +
	`|wh(sec|sk|pk)_ key: (\d+ characters of base64: allowed are [a-z0-9 ]+` +
	`|\d+ bytes: allowed are [a-z0-9 ]+` +
	`|has a line break in it: ` + regexp.QuoteMeta(allowedForms) +
	`|not base64: allowed is the standard alphabet, padded with =` +
	`|its second half is not the public key of its first: allowed is a pair, or the first half alone` +
	`|anybody can sign for it: allowed is one that belongs to a private key))$`)

// FuzzParseKey: a text is refused without being shown, or is a key that signs and
// verifies and does not show either.
func FuzzParseKey(f *testing.F) {
	for _, text := range []string{vectorSecret, vectorSeed, vectorPrivate, vectorPublic, "whsec_", "file:/key", encode("whpk_", 32)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseKey(text)
		if err != nil {
			if !keyErrors.MatchString(err.Error()) {
				t.Fatalf("an error of no kind: %v", err)
			}
			if k != (Key{}) {
				t.Fatal("an error and a key")
			}
			return
		}

		prefix, encoded, _ := strings.Cut(text, "_")
		if shown := fmt.Sprintf("%v %+v %#v %s %q %x", k, k, k, k, k, k); strings.Contains(shown, encoded) {
			t.Fatalf("shows itself: %s", shown)
		}
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			t.Fatal("a key that is not base64")
		}
		verifier := verifierOf(t, vectorTime(), text)
		if k.CanSign() != (prefix != "whpk") {
			t.Fatalf("a %s key that can sign: %v", prefix, k.CanSign())
		}
		if !k.CanSign() {
			if public, _ := base64.StdEncoding.DecodeString(k.Public()[5:]); !bytes.Equal(public, raw) {
				t.Fatal("another public key")
			}
			return
		}
		h := http.Header{}
		if err := signerOf(t, text).Sign(h, vectorID, vectorTime(), []byte(vectorBody)); err != nil {
			t.Fatal(err)
		}
		if err := verifier.Verify(h, []byte(vectorBody)); err != nil {
			t.Fatal(err)
		}
		if k.Public() != "" {
			if err := verifierOf(t, vectorTime(), k.Public()).Verify(h, []byte(vectorBody)); err != nil {
				t.Fatal(err)
			}
		}
	})
}
