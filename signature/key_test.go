package signature

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func encode(prefix string, n int) string {
	return prefix + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, n))
}

func TestParseKey(t *testing.T) {
	for _, tt := range []struct {
		text    string
		canSign bool
		public  string
	}{
		{vectorSecret, true, ""},
		{encode("whsec_", 24), true, ""},
		{encode("whsec_", 25), true, ""},
		{encode("whsec_", 64), true, ""},
		{vectorSeed, true, vectorPublic},
		{vectorPrivate, true, vectorPublic},
		{vectorPublic, false, vectorPublic},
	} {
		t.Run(tt.text[:6]+strconv.Itoa(len(tt.text)), func(t *testing.T) {
			k, err := ParseKey(tt.text)
			require.NoError(t, err)
			assert.Equal(t, tt.canSign, k.CanSign())
			assert.Equal(t, tt.public, k.Public())
		})
	}
}

func TestParseKeyRefuses(t *testing.T) {
	seed, err := base64.StdEncoding.DecodeString(vectorSeed[len("whsk_"):])
	require.NoError(t, err)
	pair := append(bytes.Clone(seed), seed...)

	for name, tt := range map[string]struct{ text, err string }{
		"empty":             {"", "key: empty: " + allowedForms},
		"space before":      {" " + vectorSecret, "key: has space around it: " + allowedForms},
		"line behind":       {vectorSecret + "\n", "key: has space around it: " + allowedForms},
		"no prefix":         {vectorSecret[6:], "key: unknown form: " + allowedForms},
		"upper case":        {strings.ToUpper(vectorSecret), "key: unknown form: " + allowedForms},
		"not loaded":        {"env:WEBHOOK_KEY", "key: unknown form: " + allowedForms},
		"line in it":        {vectorSecret[:20] + "\n" + vectorSecret[20:], "whsec_ key: has a line break in it: " + allowedForms},
		"nothing behind":    {"whsec_", "whsec_ key: 0 bytes: allowed are 24 to 64 bytes"},
		"23 bytes":          {encode("whsec_", 23), "whsec_ key: 23 bytes: allowed are 24 to 64 bytes"},
		"65 bytes":          {encode("whsec_", 65), "whsec_ key: 65 bytes: allowed are 24 to 64 bytes"},
		"a megabyte":        {encode("whsec_", 3<<18), "whsec_ key: 1048576 characters of base64: allowed are 24 to 64 bytes"},
		"not padded":        {strings.TrimRight(encode("whsec_", 25), "="), "whsec_ key: not base64: allowed is the standard alphabet, padded with ="},
		"URL alphabet":      {"whsec_" + strings.Repeat("-_-_", 8), "whsec_ key: not base64: allowed is the standard alphabet, padded with ="},
		"redacted":          {"whsec_[redacted]", "whsec_ key: not base64: allowed is the standard alphabet, padded with ="},
		"private, 31 bytes": {encode("whsk_", 31), "whsk_ key: 31 bytes: allowed are the 64 bytes of a private key or the 32 of its seed"},
		"private, 33 bytes": {encode("whsk_", 33), "whsk_ key: 33 bytes: allowed are the 64 bytes of a private key or the 32 of its seed"},
		"two seeds": {"whsk_" + base64.StdEncoding.EncodeToString(pair),
			"whsk_ key: its second half is not the public key of its first: allowed is a pair, or the first half alone"},
		"public, 31 bytes": {encode("whpk_", 31), "whpk_ key: 31 bytes: allowed are 32 bytes"},
		"public, private":  {"whpk_" + vectorPrivate[5:], "whpk_ key: 64 bytes: allowed are 32 bytes"},
		"public, a place holder": {"whpk_" + base64.StdEncoding.EncodeToString(make([]byte, 32)),
			"whpk_ key: anybody can sign for it: allowed is one that belongs to a private key"},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := ParseKey(tt.text)
			require.EqualError(t, err, "signature: "+tt.err)
			assert.Equal(t, Key{}, k)
		})
	}
}

// TestForgeable makes a signature without a private key, which crypto/ed25519 takes
// for every key of the list and for none of an honest sender's.
func TestForgeable(t *testing.T) {
	forged := make([]byte, ed25519.SignatureSize)
	forged[0] = 1 // R is the neutral element, S is zero
	taken := func(public []byte) bool {
		for i := range 256 {
			if ed25519.Verify(public, []byte{byte(i)}, forged) {
				return true
			}
		}
		return false
	}

	for _, text := range smallOrder {
		point, err := hex.DecodeString(text)
		require.NoError(t, err)
		signed := bytes.Clone(point)
		signed[31] |= 0x80
		assert.True(t, taken(point) || taken(signed), "%s: nobody can sign for it: what is it in the list for?", text)
		assert.True(t, forgeable(point), text)
		assert.True(t, forgeable(signed), text)
	}
	honest, _ := base64.StdEncoding.DecodeString(vectorPublic[5:])
	assert.False(t, taken(honest))
	assert.False(t, forgeable(honest))
}

func TestZeroKey(t *testing.T) {
	var k Key
	assert.False(t, k.CanSign())
	assert.Empty(t, k.Public())
	assert.Equal(t, "[no key]", fmt.Sprintf("%+v", k))
	_, err := NewSigner(k)
	require.EqualError(t, err, "signature: keys[0]: the zero Key: allowed is what ParseKey or LoadKey returned")
	_, err = NewVerifier(VerifierConfig{Keys: []Key{k}})
	require.EqualError(t, err, "signature: keys[0]: the zero Key: allowed is what ParseKey or LoadKey returned")
}

func TestKeyShows(t *testing.T) {
	for text, want := range map[string]string{
		vectorSecret: "whsec_[redacted]", vectorSeed: "whsk_[redacted]", vectorPublic: "whpk_[redacted]",
	} {
		k := parse(t, text)[0]
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			assert.Equal(t, want, fmt.Sprintf(verb, k), verb)
		}
		b, err := json.Marshal(map[string]any{"key": k})
		require.NoError(t, err)
		assert.JSONEq(t, `{"key":"`+want+`"}`, string(b))
	}
}

// recorder is a test that may fail.
type recorder struct{ text strings.Builder }

func (r *recorder) Errorf(format string, args ...any) { fmt.Fprintf(&r.text, format, args...) }

// TestSecretsDoNotShow tries every way to print that there is, on all that holds a
// key, before and after it was used.
func TestSecretsDoNotShow(t *testing.T) {
	type holder struct {
		Key     Key
		Pointer *Key
		key     Key
		pointer *Key
		keys    []Key
		byName  map[string]Key
		any     any
	}
	for _, text := range []string{vectorSecret, vectorSeed, vectorPrivate} {
		k := parse(t, text)[0]
		signer := signerOf(t, text)
		verifier := verifierOf(t, vectorTime(), text)
		h := vectorHeaders("")
		require.NoError(t, signer.Sign(h, vectorID, vectorTime(), []byte(vectorBody)))
		require.NoError(t, verifier.Verify(h, []byte(vectorBody)))

		values := []any{
			k, &k, []Key{k}, map[string]Key{"a": k}, map[Key]string{k: "a"},
			holder{Key: k, Pointer: &k, key: k, pointer: &k, keys: []Key{k}, byName: map[string]Key{"a": k}, any: k},
			&holder{key: k, any: &k},
			signer, *signer, verifier, *verifier,
			struct{ s Signer }{*signer}, struct{ v *Verifier }{verifier},
			VerifierConfig{Keys: []Key{k}}, struct{ c VerifierConfig }{VerifierConfig{Keys: []Key{k}}},
		}

		var out strings.Builder
		for _, v := range values {
			for _, flags := range []string{"", "+", "#", "+#"} {
				for verb := 'A'; verb <= 'z'; verb++ {
					fmt.Fprintf(&out, "%"+flags+string(verb)+"\n", v)
				}
			}
			fmt.Fprintln(&out, v)
			b, _ := json.Marshal(v) // not all can be
			out.Write(b)
			slog.New(slog.NewTextHandler(&out, nil)).Info("text", "value", v)
			slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "value", v)
			// A failing assertion walks through unexported fields and pointers.
			failed := &recorder{}
			assert.Equal(failed, nil, v)
			assert.NotEmpty(t, failed.text.String())
			out.WriteString(failed.text.String())
		}
		b, err := k.MarshalText()
		require.NoError(t, err)
		out.Write(b)

		prefix, encoded, _ := strings.Cut(text, "_")
		secret, err := base64.StdEncoding.DecodeString(encoded)
		require.NoError(t, err)
		if prefix == "whsk" {
			secret = secret[:ed25519.SeedSize] // the rest is public
		}
		shown := strings.ToLower(out.String())
		for form, s := range map[string]string{
			"raw": string(secret), "quoted": fmt.Sprintf("%q", secret)[1:20], "base64": encoded[:24],
			"hex": hex.EncodeToString(secret)[:16], "spaced hex": fmt.Sprintf("% x", secret)[:24],
			"decimal": strings.Trim(fmt.Sprint(secret[:6]), "[]"),
			"go":      fmt.Sprintf("%#v", secret[:4])[len("[]byte{"):16],
			"dump":    fmt.Sprintf("(uint8) 0x%x", secret[0]),
		} {
			if form == "raw" {
				assert.NotContains(t, out.String(), s, form)
			} else {
				assert.NotContains(t, shown, strings.ToLower(s), "%s of %s_", form, prefix)
			}
		}
	}
}
