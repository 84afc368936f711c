package signature

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The vector of the scheme's own documentation, with the signature of an Ed25519 key
// for the same message beside it: that of RFC 8032, 7.1, test 1.
const (
	vectorID      = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorSeconds = 1614265330
	vectorBody    = `{"test": 2432232314}`

	vectorSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorMAC    = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

	vectorSeed    = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
	vectorPrivate = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg=="
	vectorPublic  = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
	vectorEd25519 = "v1a,fldxM4gAKugP6nnt1hdz3sgGfZ6d99nzrMFnZOELIxbzEHoVmAb2ADpkJK7zgPePmPsle0zV9jSeGlHFG2NVAw=="
)

// Keys that sign nothing in the vector.
var (
	otherSecret  = "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("other secret", 2)))
	otherPrivate = "whsk_" + base64.StdEncoding.EncodeToString([]byte("another seed of thirty-two bytes"))
)

func vectorTime() time.Time { return time.Unix(vectorSeconds, 0) }

func parse(t testing.TB, texts ...string) (keys []Key) {
	t.Helper()
	for _, text := range texts {
		k, err := ParseKey(text)
		require.NoError(t, err)
		keys = append(keys, k)
	}
	return keys
}

func signerOf(t testing.TB, texts ...string) *Signer {
	t.Helper()
	s, err := NewSigner(parse(t, texts...)...)
	require.NoError(t, err)
	return s
}

// verifierOf returns a Verifier whose clock stands at now.
func verifierOf(t testing.TB, now time.Time, texts ...string) *Verifier {
	t.Helper()
	v, err := NewVerifier(VerifierConfig{Keys: parse(t, texts...)})
	require.NoError(t, err)
	v.now = func() time.Time { return now }
	return v
}

func headers(id, timestamp, signature string) http.Header {
	h := http.Header{}
	h.Set("webhook-id", id)
	h.Set("webhook-timestamp", timestamp)
	h.Set("webhook-signature", signature)
	return h
}

func vectorHeaders(signature string) http.Header {
	return headers(vectorID, "1614265330", signature)
}
