package signature

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func write(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestLoadKey(t *testing.T) {
	t.Setenv("WEBHOOK_KEY", "\t"+vectorPublic+"\n")
	for _, spec := range []string{
		vectorPublic,
		"file:" + write(t, vectorPublic),
		"file:" + write(t, " \r\n"+vectorPublic+"\r\n\r\n"),
		"env:WEBHOOK_KEY",
	} {
		k, err := LoadKey(spec)
		require.NoError(t, err, spec)
		assert.Equal(t, vectorPublic, k.Public())
	}
}

// TestLoadKeyAnew: a file that was replaced has another key from then on.
func TestLoadKeyAnew(t *testing.T) {
	path := write(t, vectorSecret)
	k, err := LoadKey("file:" + path)
	require.NoError(t, err)
	assert.Empty(t, k.Public())
	require.NoError(t, os.WriteFile(path, []byte(vectorPublic), 0o600))
	k, err = LoadKey("file:" + path)
	require.NoError(t, err)
	assert.Equal(t, vectorPublic, k.Public())
}

func TestLoadKeyRefuses(t *testing.T) {
	t.Setenv("WEBHOOK_EMPTY", "")
	t.Setenv("WEBHOOK_SHORT", "whsec_aHVzaA==")
	short, long, twice := write(t, "whsec_aHVzaA==\n"), write(t, strings.Repeat("hush\n", 1000)), write(t, vectorSecret+"\n"+vectorSecret)
	missing, dir := filepath.Join(t.TempDir(), "missing"), t.TempDir()

	for name, tt := range map[string]struct{ spec, err string }{
		"empty":              {"", "key: unknown form: allowed are file:/path, env:NAME, and whsec_, whsk_ or whpk_ with standard base64 behind it"},
		"a slip":             {"whsce_" + vectorSecret[6:], "key: unknown form: allowed are file:/path, env:NAME, and whsec_, whsk_ or whpk_ with standard base64 behind it"},
		"short":              {"whsec_aHVzaA==", "whsec_ key: 4 bytes: allowed are 24 to 64 bytes"},
		"file: missing":      {"file:" + missing, `file "` + missing + `": no such file or directory`},
		"file: a directory":  {"file:" + dir, `file "` + dir + `": is a directory`},
		"file: short":        {"file:" + short, `file "` + short + `": whsec_ key: 4 bytes: allowed are 24 to 64 bytes`},
		"file: long":         {"file:" + long, `file "` + long + `": more than 4096 bytes: allowed is a file with one key in it`},
		"file: two":          {"file:" + twice, `file "` + twice + `": whsec_ key: has a line break in it: ` + allowedForms},
		"file: relative":     {"file:key", "file: not an absolute path: allowed is file:/path"},
		"file: a key":        {"file:" + vectorSecret, "file: not an absolute path: allowed is file:/path"},
		"env: not set":       {"env:WEBHOOK_MISSING", "environment variable WEBHOOK_MISSING: not set: allowed is a variable with a key in it"},
		"env: empty":         {"env:WEBHOOK_EMPTY", "environment variable WEBHOOK_EMPTY: key: empty: " + allowedForms},
		"env: short":         {"env:WEBHOOK_SHORT", "environment variable WEBHOOK_SHORT: whsec_ key: 4 bytes: allowed are 24 to 64 bytes"},
		"env: nothing":       {"env:", "env: not a name: allowed are letters, digits and _, and no key"},
		"env: a digit first": {"env:1A", "env: not a name: allowed are letters, digits and _, and no key"},
		"env: a key":         {"env:" + vectorSecret, "env: not a name: allowed are letters, digits and _, and no key"},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := LoadKey(tt.spec)
			require.EqualError(t, err, "signature: "+tt.err)
			assert.Equal(t, Key{}, k)
		})
	}
	_, err := LoadKey("file:" + missing)
	require.ErrorIs(t, err, fs.ErrNotExist)
}
