package oracle

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	theirs "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/registry-notifications/notifications/signature"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rounds is how many random webhooks each test makes.
const rounds = 150

// source makes random webhooks, the same ones in every run.
type source struct{ *rand.Rand }

func newSource(seed uint64) source { return source{rand.New(rand.NewPCG(seed, 8032))} }

func (r source) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func (r source) secret() string {
	return "whsec_" + base64.StdEncoding.EncodeToString(r.bytes(24+r.IntN(41)))
}

func (r source) private() string {
	return "whsk_" + base64.StdEncoding.EncodeToString(r.bytes(ed25519.SeedSize))
}

func (r source) body() []byte {
	if r.IntN(50) == 0 {
		return r.bytes(r.IntN(1 << 20))
	}
	return r.bytes(r.IntN(2000))
}

// id is any id that may be.
func (r source) id() string {
	id := make([]byte, 1+r.IntN(60))
	for i := range id {
		for id[i] = '.'; id[i] == '.'; {
			id[i] = byte('!' + r.IntN('~'-'!'+1))
		}
	}
	return string(id)
}

// at is a time within the tolerance, with some room for a slow machine.
func (r source) at() time.Time {
	return time.Now().Add(time.Duration(r.IntN(480)-240) * time.Second)
}

func keys(t *testing.T, texts ...string) (keys []signature.Key) {
	t.Helper()
	for _, text := range texts {
		k, err := signature.ParseKey(text)
		require.NoError(t, err)
		keys = append(keys, k)
	}
	return keys
}

func signer(t *testing.T, texts ...string) *signature.Signer {
	t.Helper()
	s, err := signature.NewSigner(keys(t, texts...)...)
	require.NoError(t, err)
	return s
}

func verifier(t *testing.T, texts ...string) *signature.Verifier {
	t.Helper()
	v, err := signature.NewVerifier(signature.VerifierConfig{Keys: keys(t, texts...)})
	require.NoError(t, err)
	return v
}

func their(t *testing.T, text string) *theirs.Webhook {
	t.Helper()
	wh, err := theirs.NewWebhook(text)
	require.NoError(t, err)
	return wh
}

// flip returns b with one bit of it changed.
func (r source) flip(b []byte) []byte {
	if len(b) == 0 {
		return []byte{0}
	}
	flipped := append([]byte(nil), b...)
	flipped[r.IntN(len(b))] ^= 1 << r.IntN(8)
	return flipped
}

// TestTheirsVerifiesOurs: each receiver that has one of the sender's secrets, whatever
// the sender's other keys are, and no other one.
func TestTheirsVerifiesOurs(t *testing.T) {
	r := newSource(1)
	for range rounds {
		var texts, secrets []string
		for range 1 + r.IntN(4) {
			secrets = append(secrets, r.secret())
			texts = append(texts, secrets[len(secrets)-1])
			if r.IntN(3) == 0 {
				texts = append(texts, r.private())
			}
		}
		r.Shuffle(len(texts), func(i, j int) { texts[i], texts[j] = texts[j], texts[i] })

		h, body := http.Header{}, r.body()
		require.NoError(t, signer(t, texts...).Sign(h, r.id(), r.at(), body))
		for _, text := range secrets {
			require.NoError(t, their(t, text).Verify(body, h), h)
			require.ErrorIs(t, their(t, text).Verify(r.flip(body), h), theirs.ErrNoMatchingSignature)
		}
		require.ErrorIs(t, their(t, r.secret()).Verify(body, h), theirs.ErrNoMatchingSignature)
	}
}

// TestOursVerifiesTheirs: the same the other way about, with several senders'
// signatures in one header.
func TestOursVerifiesTheirs(t *testing.T) {
	r := newSource(2)
	for range rounds {
		id, at, body := r.id(), r.at(), r.body()
		var secrets, signatures []string
		for range 1 + r.IntN(4) {
			secrets = append(secrets, r.secret())
			s, err := their(t, secrets[len(secrets)-1]).Sign(id, at, body)
			require.NoError(t, err)
			signatures = append(signatures, s)
		}
		h := http.Header{}
		h.Set(theirs.HeaderWebhookID, id)
		h.Set(theirs.HeaderWebhookTimestamp, fmt.Sprint(at.Unix()))
		h.Set(theirs.HeaderWebhookSignature, strings.Join(signatures, " "))

		for _, text := range secrets {
			v := verifier(t, r.secret(), text, r.private())
			require.NoError(t, v.Verify(h, body), h)
			require.ErrorIs(t, v.Verify(h, r.flip(body)), signature.ErrNoMatch)
		}
		require.ErrorIs(t, verifier(t, r.secret(), r.private()).Verify(h, body), signature.ErrNoMatch)
	}
}

// TestSameSignature: not only does each take the other's, they are the same bytes.
func TestSameSignature(t *testing.T) {
	r := newSource(3)
	for range rounds {
		text, id, at, body := r.secret(), r.id(), r.at(), r.body()
		want, err := their(t, text).Sign(id, at, body)
		require.NoError(t, err)
		h := http.Header{}
		require.NoError(t, signer(t, text).Sign(h, id, at, body))
		require.Equal(t, want, h.Get(theirs.HeaderWebhookSignature))
	}
}

// TestNoEd25519: theirs passes over v1a and cannot take a key for it. If this fails, a
// newer version can, and the tests above should have it.
func TestNoEd25519(t *testing.T) {
	r := newSource(4)
	private, body, h := r.private(), r.body(), http.Header{}
	require.NoError(t, signer(t, private).Sign(h, r.id(), r.at(), body))
	_, err := theirs.NewWebhook(private)
	require.Error(t, err)
	require.ErrorIs(t, their(t, r.secret()).Verify(body, h), theirs.ErrNoMatchingSignature)

	// The oracle for it is the standard library, with the message put together here.
	seed, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(private, "whsk_"))
	require.NoError(t, err)
	message := fmt.Sprintf("%s.%s.%s", h.Get(theirs.HeaderWebhookID), h.Get(theirs.HeaderWebhookTimestamp), body)
	want := ed25519.Sign(ed25519.NewKeyFromSeed(seed), []byte(message))
	assert.Equal(t, "v1a,"+base64.StdEncoding.EncodeToString(want), h.Get(theirs.HeaderWebhookSignature))
}

// TestStricter are webhooks that theirs takes and ours does not: no sender that keeps
// to the scheme makes them.
func TestStricter(t *testing.T) {
	r := newSource(5)
	text, body := r.secret(), r.body()
	wh, v := their(t, text), verifier(t, text)
	at := time.Now()
	sign := func(id string) http.Header {
		s, err := wh.Sign(id, at, body)
		require.NoError(t, err)
		h := http.Header{}
		h.Set(theirs.HeaderWebhookID, id)
		h.Set(theirs.HeaderWebhookTimestamp, fmt.Sprint(at.Unix()))
		h.Set(theirs.HeaderWebhookSignature, s)
		return h
	}
	for name, tt := range map[string]struct {
		header func() http.Header
		want   error
	}{
		"a dot in the id": {func() http.Header { return sign("msg.1") }, signature.ErrBadHeader},
		"a sign on the time": {func() http.Header {
			h := sign("msg_1")
			h.Set(theirs.HeaderWebhookTimestamp, "+"+h.Get(theirs.HeaderWebhookTimestamp))
			return h
		}, signature.ErrBadTimestamp},
		"two ids": {func() http.Header {
			h := sign("msg_1")
			h.Add(theirs.HeaderWebhookID, "msg_2")
			return h
		}, signature.ErrBadHeader},
		"more behind a signature": {func() http.Header {
			h := sign("msg_1")
			h.Set(theirs.HeaderWebhookSignature, h.Get(theirs.HeaderWebhookSignature)+",more")
			return h
		}, signature.ErrNoMatch},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, wh.Verify(body, tt.header()))
			require.ErrorIs(t, v.Verify(tt.header(), body), tt.want)
		})
	}
}
