package signature

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSign(t *testing.T) {
	for name, tt := range map[string]struct {
		keys []string
		want string
	}{
		"the vector":       {[]string{vectorSecret}, vectorMAC},
		"a seed":           {[]string{vectorSeed}, vectorEd25519},
		"a private key":    {[]string{vectorPrivate}, vectorEd25519},
		"in their order":   {[]string{vectorSecret, vectorSeed}, vectorMAC + " " + vectorEd25519},
		"the other order":  {[]string{vectorSeed, vectorSecret}, vectorEd25519 + " " + vectorMAC},
		"the same, thrice": {[]string{vectorSecret, vectorSecret, vectorSecret}, vectorMAC + " " + vectorMAC + " " + vectorMAC},
	} {
		t.Run(name, func(t *testing.T) {
			s := signerOf(t, tt.keys...)
			for range 2 { // what was used once is used again
				h := http.Header{"Webhook-Id": {"old", "older"}, "Accept": {"*/*"}}
				require.NoError(t, s.Sign(h, vectorID, vectorTime().Add(999*time.Millisecond), []byte(vectorBody)))
				assert.Equal(t, http.Header{
					"Webhook-Id":        {vectorID},
					"Webhook-Timestamp": {"1614265330"},
					"Webhook-Signature": {tt.want},
					"Accept":            {"*/*"},
				}, h)
				h.Add(HeaderID, "another")
				assert.Equal(t, "1614265330", h.Get(HeaderTimestamp))
			}
		})
	}
}

// TestSignScheme is a signature that the scheme's own Go library made of an Ed25519
// key in its tests, which no release of it can do yet.
func TestSignScheme(t *testing.T) {
	h := http.Header{}
	s := signerOf(t, "whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk=")
	require.NoError(t, s.Sign(h, vectorID, vectorTime(), []byte(vectorBody)))
	assert.Equal(t, "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag==", h.Get("webhook-signature"))
}

func TestSignRefuses(t *testing.T) {
	s := signerOf(t, vectorSecret)
	for name, tt := range map[string]struct {
		id  string
		at  time.Time
		err string
	}{
		"no id":           {"", vectorTime(), "id: empty: allowed is visible ASCII without a dot"},
		"a dot":           {"msg.1", vectorTime(), "id: byte 0x2e at 3: allowed is visible ASCII without a dot"},
		"a space":         {"msg 1", vectorTime(), "id: byte 0x20 at 3: allowed is visible ASCII without a dot"},
		"a line":          {"msg\r\nx: y", vectorTime(), "id: byte 0x0d at 3: allowed is visible ASCII without a dot"},
		"not ASCII":       {"msgé", vectorTime(), "id: byte 0xc3 at 3: allowed is visible ASCII without a dot"},
		"delete":          {"msg\x7f", vectorTime(), "id: byte 0x7f at 3: allowed is visible ASCII without a dot"},
		"a long id":       {strings.Repeat("a", 257), vectorTime(), "id: 257 bytes: allowed are 256"},
		"before 1970":     {vectorID, time.Unix(-1, 999), "time: -1 seconds since 1970: allowed are 0 to 999999999999"},
		"no time":         {vectorID, time.Time{}, "time: -62135596800 seconds since 1970: allowed are 0 to 999999999999"},
		"thirteen digits": {vectorID, time.Unix(1e12, 0), "time: 1000000000000 seconds since 1970: allowed are 0 to 999999999999"},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.Header{"Webhook-Id": {"old"}}
			require.EqualError(t, s.Sign(h, tt.id, tt.at, nil), "signature: "+tt.err)
			assert.Equal(t, http.Header{"Webhook-Id": {"old"}}, h)
		})
	}
	require.Error(t, s.Sign(nil, vectorID, vectorTime(), nil))
	for _, id := range []string{"!", "~", strings.Repeat("a", 256)} {
		require.NoError(t, s.Sign(http.Header{}, id, time.Unix(0, 0), nil))
	}
}

func TestNewSignerRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		keys []Key
		err  string
	}{
		"none":     {nil, "signature: keys: 0: allowed are 1 to 8"},
		"nine":     {make([]Key, 9), "signature: keys: 9: allowed are 1 to 8"},
		"a public": {parse(t, vectorSecret, vectorPublic), "signature: keys[1]: a public key cannot sign: allowed are whsec_ and whsk_ keys"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := NewSigner(tt.keys...)
			require.EqualError(t, err, tt.err)
			assert.Nil(t, s)
			assert.Equal(t, name == "a public", errors.Is(err, ErrCannotSign))
		})
	}
}

// TestSignerKeepsItsKeys: the slice belongs to the caller again.
func TestSignerKeepsItsKeys(t *testing.T) {
	keys := parse(t, vectorSecret)
	s, err := NewSigner(keys...)
	require.NoError(t, err)
	v, err := NewVerifier(VerifierConfig{Keys: keys})
	require.NoError(t, err)
	keys[0] = Key{}
	h := http.Header{}
	require.NoError(t, s.Sign(h, vectorID, time.Now(), nil))
	require.NoError(t, v.Verify(h, nil))
}

func TestConcurrentUse(t *testing.T) {
	s := signerOf(t, vectorSecret, vectorSeed, otherSecret)
	verifiers := []*Verifier{
		verifierOf(t, vectorTime(), vectorSecret), verifierOf(t, vectorTime(), vectorPublic),
		verifierOf(t, vectorTime(), otherSecret, vectorSeed),
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 50 {
				h, body := http.Header{}, bytes.Repeat([]byte{byte(i)}, 100*n)
				if err := s.Sign(h, fmt.Sprint("msg_", i, "_", n), vectorTime(), body); err != nil {
					t.Error(err)
				}
				if err := verifiers[n%3].Verify(h, body); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// TestSignDoesNotCopyTheBody: neither does Verify. With Ed25519 there is one copy, in
// space that is used again.
func TestSignDoesNotCopyTheBody(t *testing.T) {
	body := make([]byte, 1<<20)
	s := signerOf(t, vectorSecret, otherSecret)
	v := verifierOf(t, vectorTime(), otherSecret, vectorSecret, vectorPublic)
	h := http.Header{}

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const times = 20
	for range times {
		require.NoError(t, s.Sign(h, vectorID, vectorTime(), body))
		require.NoError(t, v.Verify(h, body))
	}
	runtime.ReadMemStats(&after)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(times*32<<10))
}

// TestMessageKeepsItsSpace: the copy for Ed25519 is made where the last one was, but
// one event of many megabytes does not stay in memory.
func TestMessageKeepsItsSpace(t *testing.T) {
	for size, keeps := range map[int]bool{100: true, 1 << 20: true, 2 << 20: false} {
		m := &message{head: []byte(vectorID + ".1614265330."), body: make([]byte, size)}
		assert.Len(t, m.joined(), len(m.head)+size)
		m.release()
		assert.Equal(t, keeps, m.whole != nil, size)
		assert.Empty(t, m.whole)
		assert.Nil(t, m.body)
	}
}

func BenchmarkSign(b *testing.B) {
	for _, keys := range []struct {
		name  string
		texts []string
	}{
		{"hmac", []string{vectorSecret}},
		{"two-hmac", []string{vectorSecret, otherSecret}},
		{"ed25519", []string{vectorSeed}},
	} {
		for _, size := range []int{1 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("%s/%dKiB", keys.name, size>>10), func(b *testing.B) {
				s := signerOf(b, keys.texts...)
				body, h := make([]byte, size), http.Header{}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if err := s.Sign(h, vectorID, vectorTime(), body); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
