package signature

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxKeyFile is how much of a file is read, in bytes. The longest key has 100.
const maxKeyFile = 4096

// LoadKey returns the key that spec stands for: the key itself as ParseKey reads it,
// file: and the absolute path of a file with the key in it, or env: and the name of an
// environment variable. White space around what the file or the variable holds does
// not count.
//
// A file is read anew by each call. The error names the file or the variable, and
// shows nothing of what is in it; errors.Is finds fs.ErrNotExist and
// fs.ErrPermission.
func LoadKey(spec string) (Key, error) {
	k, err := loadKey(spec)
	if err != nil {
		return Key{}, fmt.Errorf("signature: %w", err)
	}
	return Key{k}, nil
}

func loadKey(spec string) (*key, error) {
	if path, ok := strings.CutPrefix(spec, "file:"); ok {
		// A key that ended up behind file: by mistake is no absolute path, and is not
		// shown.
		if !filepath.IsAbs(path) {
			return nil, errors.New("file: not an absolute path: allowed is file:/path")
		}
		text, err := readFile(path)
		if err != nil {
			return nil, fmt.Errorf("file %q: %w", path, err)
		}
		k, err := parseKey(text)
		if err != nil {
			return nil, fmt.Errorf("file %q: %w", path, err)
		}
		return k, nil
	}

	if name, ok := strings.CutPrefix(spec, "env:"); ok {
		// A key may look like a name, and is not shown.
		if !isName(name) || prefixOf(name) != "" {
			return nil, errors.New("env: not a name: allowed are letters, digits and _, and no key")
		}
		text, ok := os.LookupEnv(name)
		if !ok {
			return nil, fmt.Errorf("environment variable %s: not set: allowed is a variable with a key in it", name)
		}
		k, err := parseKey(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("environment variable %s: %w", name, err)
		}
		return k, nil
	}

	if prefixOf(spec) == "" {
		return nil, errors.New("key: unknown form: allowed are file:/path, env:NAME, and whsec_, whsk_ or whpk_ with standard base64 behind it")
	}
	return parseKey(spec)
}

func readFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", withoutPath(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return "", withoutPath(err)
	}
	if len(text) > maxKeyFile {
		return "", fmt.Errorf("more than %d bytes: allowed is a file with one key in it", maxKeyFile)
	}
	return strings.TrimSpace(string(text)), nil
}

// withoutPath keeps the path from standing in the message twice.
func withoutPath(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	return err
}

func isName(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
