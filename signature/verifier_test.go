package signature

import (
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Signatures of the right shape that nobody made.
var (
	noMAC     = "v1," + base64.StdEncoding.EncodeToString(make([]byte, 32))
	noEd25519 = "v1a," + base64.StdEncoding.EncodeToString(make([]byte, 64))
)

func TestVerify(t *testing.T) {
	for name, tt := range map[string]struct {
		keys      []string
		signature string
		want      error
	}{
		"the vector":               {[]string{vectorSecret}, vectorMAC, nil},
		"a public key":             {[]string{vectorPublic}, vectorEd25519, nil},
		"a private key":            {[]string{vectorPrivate}, vectorEd25519, nil},
		"a seed":                   {[]string{vectorSeed}, vectorEd25519, nil},
		"the second key":           {[]string{otherSecret, vectorSecret}, vectorMAC, nil},
		"the second of Ed25519":    {[]string{otherPrivate, vectorPublic}, vectorEd25519, nil},
		"the second signature":     {[]string{vectorSecret}, noMAC + " " + vectorMAC, nil},
		"the first signature":      {[]string{vectorSecret}, vectorMAC + " " + noMAC, nil},
		"the other kind first":     {[]string{vectorSecret}, vectorEd25519 + " " + vectorMAC, nil},
		"the other kind behind":    {[]string{vectorPublic}, vectorMAC + " " + vectorEd25519, nil},
		"both kinds of key":        {[]string{otherSecret, vectorPublic}, vectorMAC + " " + vectorEd25519, nil},
		"unknown versions":         {[]string{vectorSecret}, "v2," + vectorMAC[3:] + " v1b, v0 , " + vectorMAC, nil},
		"spaces":                   {[]string{vectorSecret}, "  " + vectorMAC + "  ", nil},
		"32nd of 32":               {[]string{vectorSecret}, strings.Repeat(noMAC+" ", 31) + vectorMAC, nil},
		"33rd":                     {[]string{vectorSecret}, strings.Repeat(noMAC+" ", 32) + vectorMAC, ErrNoMatch},
		"33rd behind short ones":   {[]string{vectorSecret}, strings.Repeat("v1, ", 32) + vectorMAC, ErrNoMatch},
		"behind unknown ones":      {[]string{vectorSecret}, strings.Repeat("v9,AA== ", 400) + vectorMAC, nil},
		"8th of Ed25519":           {[]string{vectorPublic}, strings.Repeat(noEd25519+" ", 7) + vectorEd25519, nil},
		"9th of Ed25519":           {[]string{vectorPublic}, strings.Repeat(noEd25519+" ", 8) + vectorEd25519, ErrNoMatch},
		"behind 9 of Ed25519":      {[]string{vectorSecret}, strings.Repeat(noEd25519+" ", 9) + vectorMAC, nil},
		"another key":              {[]string{otherSecret}, vectorMAC, ErrNoMatch},
		"another key of Ed25519":   {[]string{otherPrivate}, vectorEd25519, ErrNoMatch},
		"the other kind":           {[]string{vectorPublic}, vectorMAC, ErrNoMatch},
		"a MAC as v1a":             {[]string{vectorSecret}, "v1a," + vectorMAC[3:], ErrNoMatch},
		"Ed25519 as v1":            {[]string{vectorPublic}, "v1," + vectorEd25519[4:], ErrNoMatch},
		"upper case":               {[]string{vectorSecret}, "V1," + vectorMAC[3:], ErrNoMatch},
		"no version":               {[]string{vectorSecret}, vectorMAC[3:], ErrNoMatch},
		"an empty one":             {[]string{vectorSecret}, "v1,", ErrNoMatch},
		"cut short":                {[]string{vectorSecret}, vectorMAC[:40], ErrNoMatch},
		"more behind":              {[]string{vectorSecret}, vectorMAC + "=", ErrNoMatch},
		"separated by a comma":     {[]string{vectorSecret}, vectorMAC + "," + vectorMAC, ErrNoMatch},
		"other base64 of the same": {[]string{vectorSecret}, vectorMAC[:len(vectorMAC)-2] + "F=", ErrNoMatch},
		"other base64, Ed25519":    {[]string{vectorPublic}, vectorEd25519[:len(vectorEd25519)-3] + "x==", ErrNoMatch},
		"not base64, Ed25519":      {[]string{vectorPublic}, "v1a," + strings.Repeat("!", 88), ErrNoMatch},
		"a line in it":             {[]string{vectorPublic}, "v1a,\n" + vectorEd25519[4:91], ErrNoMatch},
		"65 bytes, Ed25519":        {[]string{vectorPublic}, strings.TrimSuffix(vectorEd25519, "==") + "A=", ErrNoMatch},
		"66 bytes, Ed25519":        {[]string{vectorPublic}, strings.TrimSuffix(vectorEd25519, "==") + "AA", ErrNoMatch},
		"only spaces":              {[]string{vectorSecret}, "   ", ErrNoMatch},
		"4096 bytes":               {[]string{vectorSecret}, vectorMAC + strings.Repeat(" ", 4096-len(vectorMAC)), nil},
		"4097 bytes":               {[]string{vectorSecret}, vectorMAC + strings.Repeat(" ", 4097-len(vectorMAC)), ErrBadHeader},
		"no signature":             {[]string{vectorSecret}, "", ErrMissingHeader},
	} {
		t.Run(name, func(t *testing.T) {
			v := verifierOf(t, vectorTime(), tt.keys...)
			require.ErrorIs(t, v.Verify(vectorHeaders(tt.signature), []byte(vectorBody)), tt.want)
		})
	}
}

// TestVerifyWhole: whatever of the message is another one, no kind of key takes it.
func TestVerifyWhole(t *testing.T) {
	both := vectorMAC + " " + vectorEd25519
	for name, tt := range map[string]struct {
		header http.Header
		body   string
		want   error
	}{
		"as it was":      {vectorHeaders(both), vectorBody, nil},
		"body":           {vectorHeaders(both), vectorBody + " ", ErrNoMatch},
		"no body":        {vectorHeaders(both), "", ErrNoMatch},
		"id":             {headers(vectorID+"2", "1614265330", both), vectorBody, ErrNoMatch},
		"timestamp":      {headers(vectorID, "1614265331", both), vectorBody, ErrNoMatch},
		"id in the body": {headers("msg_p5jXN8AQM9LWM0D4loKWxJe", "1614265330", both), "k." + vectorBody, ErrNoMatch},
		"body in the id": {headers(vectorID+".1614265330", "1614265330", both), vectorBody, ErrBadHeader},
		"no id":          {headers("", "1614265330", both), vectorBody, ErrMissingHeader},
		"no timestamp":   {headers(vectorID, "", both), vectorBody, ErrMissingHeader},
		"no header":      {nil, vectorBody, ErrMissingHeader},
		"a space":        {headers("a b", "1614265330", both), vectorBody, ErrBadHeader},
		"a long id":      {headers(strings.Repeat("a", 257), "1614265330", both), vectorBody, ErrBadHeader},
		"not canonical":  {http.Header{"webhook-id": {vectorID}, "webhook-timestamp": {"1614265330"}, "webhook-signature": {both}}, vectorBody, ErrMissingHeader},
	} {
		t.Run(name, func(t *testing.T) {
			for _, key := range []string{vectorSecret, vectorPublic} {
				v := verifierOf(t, vectorTime(), key)
				require.ErrorIs(t, v.Verify(tt.header, []byte(tt.body)), tt.want)
			}
		})
	}
}

// TestVerifyTwice: a header that comes twice is refused, whichever of them is right.
func TestVerifyTwice(t *testing.T) {
	v := verifierOf(t, vectorTime(), vectorSecret)
	for _, name := range []string{HeaderID, HeaderTimestamp, HeaderSignature} {
		for _, other := range []string{"", "1", vectorHeaders(vectorMAC).Get(name)} {
			h := vectorHeaders(vectorMAC)
			h[name] = []string{h.Get(name), other}
			require.ErrorIs(t, v.Verify(h, []byte(vectorBody)), ErrBadHeader, "%s: %q", name, other)
			h[name] = []string{other, h.Get(name)}
			require.ErrorIs(t, v.Verify(h, []byte(vectorBody)), ErrBadHeader, "%s: %q", name, other)
		}
	}
}

func TestVerifyTimestamp(t *testing.T) {
	// Signed as written: it is not the signature that refuses them.
	k := parse(t, vectorSecret)[0]
	sign := func(timestamp string) http.Header {
		m := &message{head: []byte(vectorID + "." + timestamp + "."), body: []byte(vectorBody)}
		return headers(vectorID, timestamp, string(k.k.sign(nil, m)))
	}
	v := verifierOf(t, time.Unix(1, 0), vectorSecret)
	require.NoError(t, v.Verify(sign("0"), []byte(vectorBody)))
	require.NoError(t, v.Verify(sign("1"), []byte(vectorBody)))
	for _, timestamp := range []string{
		"00", "01", "+1", "-1", "-0", "1.0", "1e0", "0x1", "1_0", " 1", "1 ", "1,1", "١", "now",
		"Thu, 01 Jan 1970 00:00:01 GMT", "1000000000000", "18446744073709551617", strings.Repeat("1", 1000),
	} {
		err := v.Verify(sign(timestamp), []byte(vectorBody))
		require.ErrorIs(t, err, ErrBadTimestamp, "%q", timestamp)
		assert.EqualError(t, err, "signature: bad timestamp: allowed are the seconds since 1970, in 1 to 12 digits")
	}
}

func TestVerifyTolerance(t *testing.T) {
	for _, tolerance := range []time.Duration{0, time.Nanosecond, time.Second, time.Hour} {
		v := verifierOf(t, vectorTime(), vectorSecret)
		exact, err := NewVerifier(VerifierConfig{Keys: v.keys, Tolerance: tolerance})
		require.NoError(t, err)
		if tolerance == 0 {
			tolerance = 5 * time.Minute
		}
		for _, tt := range []struct {
			late time.Duration
			want error
		}{
			{0, nil}, {tolerance, nil}, {tolerance + 1, ErrTooOld}, {-tolerance, nil}, {-tolerance - 1, ErrTooNew},
			{100 * 365 * 24 * time.Hour, ErrTooOld}, {-50 * 365 * 24 * time.Hour, ErrTooNew},
		} {
			exact.now = func() time.Time { return vectorTime().Add(tt.late) }
			require.ErrorIs(t, exact.Verify(vectorHeaders(vectorMAC), []byte(vectorBody)), tt.want, "%v of %v", tt.late, tolerance)
		}
	}
}

// TestVerifyFar: further away than a time.Duration reaches is not near.
func TestVerifyFar(t *testing.T) {
	far := http.Header{}
	require.NoError(t, signerOf(t, vectorSecret).Sign(far, vectorID, time.Unix(maxSeconds, 0), []byte(vectorBody)))
	require.ErrorIs(t, verifierOf(t, vectorTime(), vectorSecret).Verify(far, []byte(vectorBody)), ErrTooNew)
	require.ErrorIs(t, verifierOf(t, time.Unix(maxSeconds, 0), vectorSecret).Verify(vectorHeaders(vectorMAC), []byte(vectorBody)), ErrTooOld)

	v, err := NewVerifier(VerifierConfig{Keys: parse(t, vectorSecret), Tolerance: math.MaxInt64})
	require.NoError(t, err)
	require.NoError(t, v.Verify(vectorHeaders(vectorMAC), []byte(vectorBody)))
}

// TestVerifyOnTheClock: without a clock of a test's it is the system's.
func TestVerifyOnTheClock(t *testing.T) {
	v, err := NewVerifier(VerifierConfig{Keys: parse(t, vectorSecret)})
	require.NoError(t, err)
	s := signerOf(t, vectorSecret)
	for late, want := range map[time.Duration]error{0: nil, 6 * time.Minute: ErrTooOld, -6 * time.Minute: ErrTooNew} {
		h := http.Header{}
		require.NoError(t, s.Sign(h, vectorID, time.Now().Add(-late), nil))
		require.ErrorIs(t, v.Verify(h, nil), want)
	}
}

func TestVerifyErrors(t *testing.T) {
	v := verifierOf(t, vectorTime().Add(time.Hour+400*time.Millisecond), vectorSecret)
	require.EqualError(t, v.Verify(vectorHeaders(vectorMAC), nil), "signature: too old: sent 1h0m0s ago: allowed are 5m0s")
	v = verifierOf(t, vectorTime().Add(-time.Hour), vectorSecret)
	require.EqualError(t, v.Verify(vectorHeaders(vectorMAC), nil), "signature: too new: sent 1h0m0s from now: allowed are 5m0s")
	require.EqualError(t, v.Verify(nil, nil), "signature: missing header: Webhook-Id")

	// What would have been right is not for whoever guesses.
	v = verifierOf(t, vectorTime(), vectorSecret)
	require.EqualError(t, v.Verify(vectorHeaders(noMAC), []byte(vectorBody)), "signature: no matching signature")
}

func TestNewVerifierRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		config VerifierConfig
		err    string
	}{
		"no key":   {VerifierConfig{}, "signature: keys: 0: allowed are 1 to 8"},
		"nine":     {VerifierConfig{Keys: make([]Key, 9)}, "signature: keys: 9: allowed are 1 to 8"},
		"negative": {VerifierConfig{Keys: parse(t, vectorSecret), Tolerance: -1}, "signature: tolerance: -1ns: allowed is zero, which means 5m0s, and more"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := NewVerifier(tt.config)
			require.EqualError(t, err, tt.err)
			assert.Nil(t, v)
		})
	}
}

// TestRotation goes through the steps of the package documentation: at none of them
// is a webhook refused.
func TestRotation(t *testing.T) {
	for _, pair := range [][2]string{{vectorSecret, otherSecret}, {vectorSeed, otherPrivate}, {vectorSecret, otherPrivate}} {
		old, young := pair[0], pair[1]
		for i, step := range []struct{ sender, receiver []string }{
			{[]string{old}, []string{old}},
			{[]string{old}, []string{old, young}},
			{[]string{old, young}, []string{old, young}},
			{[]string{young}, []string{old, young}},
			{[]string{young}, []string{young}},
		} {
			h := http.Header{}
			require.NoError(t, signerOf(t, step.sender...).Sign(h, vectorID, vectorTime(), []byte(vectorBody)))
			require.NoError(t, verifierOf(t, vectorTime(), step.receiver...).Verify(h, []byte(vectorBody)), "step %d", i)
		}
	}
}

// TestEverySignatureIsLookedAt: what a sender may send, a receiver looks at.
func TestEverySignatureIsLookedAt(t *testing.T) {
	var senders []string
	for range maxKeys - 1 {
		senders = append(senders, otherPrivate)
	}
	h := http.Header{}
	require.NoError(t, signerOf(t, append(senders, vectorSeed)...).Sign(h, vectorID, vectorTime(), nil))
	require.NoError(t, verifierOf(t, vectorTime(), vectorPublic).Verify(h, nil))
}

func BenchmarkVerify(b *testing.B) {
	attack := strings.Repeat(noEd25519+" ", 40)
	for _, bb := range []struct {
		name, key, signature string
	}{
		{"hmac", vectorSecret, ""},
		{"ed25519", vectorPublic, ""},
		{"hmac-attack", vectorSecret, strings.Repeat(noMAC+" ", 80)},
		{"ed25519-attack", vectorPublic, attack},
	} {
		for _, size := range []int{1 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("%s/%dKiB", bb.name, size>>10), func(b *testing.B) {
				v := verifierOf(b, vectorTime(), bb.key)
				body, h := make([]byte, size), vectorHeaders("")
				if err := signerOf(b, vectorSecret, vectorSeed).Sign(h, vectorID, vectorTime(), body); err != nil {
					b.Fatal(err)
				}
				if bb.signature != "" {
					h.Set(HeaderSignature, bb.signature)
				}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if err := v.Verify(h, body); (err == nil) != (bb.signature == "") {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
