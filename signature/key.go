package signature

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"sync"
)

// ErrCannotSign is what NewSigner's error is for a key that can only verify.
var ErrCannotSign = errors.New("a public key cannot sign: allowed are whsec_ and whsk_ keys")

// errNoKey is for a Key that came from nowhere.
var errNoKey = errors.New("the zero Key: allowed is what ParseKey or LoadKey returned")

// How a key's text begins (Standard Webhooks, "Signature scheme").
const (
	prefixSecret  = "whsec_" // HMAC-SHA256, both sides have it
	prefixPrivate = "whsk_"  // Ed25519, the sender's
	prefixPublic  = "whpk_"  // Ed25519, the receiver's
)

// The size of an HMAC secret in bytes (Standard Webhooks, "Signature scheme").
const (
	minSecret = 24
	maxSecret = 64
)

// maxKeys bounds what one POST costs: every key goes over the whole body.
const maxKeys = 8

// allowedForms ends the errors for a text that is not a key. None of them shows
// the text: it may be a key with a slip in it.
const allowedForms = "allowed is whsec_, whsk_ or whpk_ and standard base64 behind it"

// Key is one key of a sender or a receiver. It does not change; all may use it at
// once. Printed or encoded in any way it shows what kind of key it is and nothing
// else. The zero Key is no key: NewSigner and NewVerifier refuse it.
type Key struct {
	k *key
}

// key has its secret in closures only, where no kind of reflection looks.
type key struct {
	prefix  string
	macs    *sync.Pool                // of hash.Hash, ready to be written to: HMAC
	private func() ed25519.PrivateKey // Ed25519, with which one can sign
	public  ed25519.PublicKey         // Ed25519
}

// ParseKey reads a key:
//
//   - whsec_ and base64 of 24 to 64 bytes: an HMAC-SHA256 secret, which signs and
//     verifies.
//   - whsk_ and base64 of an Ed25519 private key, the 64 bytes of it or the seed of
//     32: signs and verifies.
//   - whpk_ and base64 of an Ed25519 public key of 32 bytes: verifies.
//
// Base64 is the standard alphabet, padded. The error says what is wrong and what is
// allowed, and shows nothing of text.
func ParseKey(text string) (Key, error) {
	k, err := parseKey(text)
	if err != nil {
		return Key{}, fmt.Errorf("signature: %w", err)
	}
	return Key{k}, nil
}

func parseKey(text string) (*key, error) {
	if text == "" {
		return nil, errors.New("key: empty: " + allowedForms)
	}
	if strings.TrimSpace(text) != text {
		return nil, errors.New("key: has space around it: " + allowedForms)
	}
	prefix := prefixOf(text)
	if prefix == "" {
		return nil, errors.New("key: unknown form: " + allowedForms)
	}

	encoded := text[len(prefix):]
	// Nothing is decoded that cannot be a key, however long it is. The decoder would
	// skip line breaks.
	if base64.StdEncoding.DecodedLen(len(encoded)) > 2*maxSecret {
		return nil, fmt.Errorf("%s key: %d characters of base64: %s", prefix, len(encoded), allowedSize(prefix))
	}
	if strings.ContainsAny(encoded, "\r\n") {
		return nil, fmt.Errorf("%s key: has a line break in it: %s", prefix, allowedForms)
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("%s key: not base64: allowed is the standard alphabet, padded with =", prefix)
	}

	switch prefix {
	case prefixSecret:
		return secretKey(raw)
	case prefixPrivate:
		return privateKey(raw)
	}
	return publicKey(raw)
}

// prefixOf returns the prefix of a key's text, or nothing.
func prefixOf(text string) string {
	for _, p := range []string{prefixSecret, prefixPrivate, prefixPublic} {
		if strings.HasPrefix(text, p) {
			return p
		}
	}
	return ""
}

func allowedSize(prefix string) string {
	switch prefix {
	case prefixSecret:
		return fmt.Sprintf("allowed are %d to %d bytes", minSecret, maxSecret)
	case prefixPrivate:
		return fmt.Sprintf("allowed are the %d bytes of a private key or the %d of its seed", ed25519.PrivateKeySize, ed25519.SeedSize)
	}
	return fmt.Sprintf("allowed are %d bytes", ed25519.PublicKeySize)
}

func wrongSize(prefix string, raw []byte) error {
	return fmt.Errorf("%s key: %d bytes: %s", prefix, len(raw), allowedSize(prefix))
}

func secretKey(secret []byte) (*key, error) {
	if len(secret) < minSecret || len(secret) > maxSecret {
		return nil, wrongSize(prefixSecret, secret)
	}
	// A used HMAC keeps its two padded blocks, so that the next message costs only
	// its own length.
	macs := &sync.Pool{New: func() any { return hmac.New(sha256.New, secret) }}
	return &key{prefix: prefixSecret, macs: macs}, nil
}

func privateKey(raw []byte) (*key, error) {
	if len(raw) != ed25519.PrivateKeySize && len(raw) != ed25519.SeedSize {
		return nil, wrongSize(prefixPrivate, raw)
	}
	private := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
	// Two signatures of one message under different public halves give the private
	// key away (RFC 8032, 5.1.6: the nonce does not depend on the public half).
	if len(raw) == ed25519.PrivateKeySize && !bytes.Equal(raw, private) {
		return nil, fmt.Errorf("%s key: its second half is not the public key of its first: allowed is a pair, or the first half alone", prefixPrivate)
	}
	return &key{
		prefix:  prefixPrivate,
		private: func() ed25519.PrivateKey { return private },
		public:  private.Public().(ed25519.PublicKey),
	}, nil
}

func publicKey(raw []byte) (*key, error) {
	if len(raw) != ed25519.PublicKeySize {
		return nil, wrongSize(prefixPublic, raw)
	}
	// A place holder of 32 zero bytes is such a key.
	if forgeable(raw) {
		return nil, fmt.Errorf("%s key: anybody can sign for it: allowed is one that belongs to a private key", prefixPublic)
	}
	return &key{prefix: prefixPublic, public: raw}, nil
}

// smallOrder are the points of Ed25519 of an order that divides 8, without the sign:
// the ones in their only encoding and the two that have a second one. RFC 8032
// verifies signatures under them that were made without any private key.
var smallOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

func forgeable(public []byte) bool {
	unsigned := bytes.Clone(public)
	unsigned[len(unsigned)-1] &^= 0x80
	shown := hex.EncodeToString(unsigned)
	for _, point := range smallOrder {
		if shown == point {
			return true
		}
	}
	return false
}

// CanSign says whether NewSigner takes the key.
func (k Key) CanSign() bool { return k.k != nil && (k.k.macs != nil || k.k.private != nil) }

// Public returns the text of an Ed25519 key's public half, whpk_ and base64, for the
// receivers. It is empty for any other key.
func (k Key) Public() string {
	if k.k == nil || k.k.public == nil {
		return ""
	}
	return prefixPublic + base64.StdEncoding.EncodeToString(k.k.public)
}

// String says what kind of key it is.
func (k Key) String() string {
	if k.k == nil {
		return "[no key]"
	}
	return k.k.prefix + "[redacted]"
}

// Format writes what String returns, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// MarshalText returns what String returns. ParseKey refuses it.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// mac writes the HMAC of the message behind dst.
func (k *key) mac(dst []byte, m *message) []byte {
	h := k.macs.Get().(hash.Hash)
	defer k.macs.Put(h)
	h.Reset()
	h.Write(m.head)
	h.Write(m.body)
	m.sum = h.Sum(m.sum[:0])
	return base64.StdEncoding.AppendEncode(dst, m.sum)
}

// sign writes the signature of the message as it stands in the header behind dst.
// The key can sign.
func (k *key) sign(dst []byte, m *message) []byte {
	if k.macs != nil {
		return k.mac(append(dst, versionHMAC+","...), m)
	}
	sum := ed25519.Sign(k.private(), m.joined())
	return base64.StdEncoding.AppendEncode(append(dst, versionEd25519+","...), sum)
}
