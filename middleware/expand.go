package middleware

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

const (
	allowedReferences = "allowed are ${env:NAME} and ${file:/path}, and $${ for ${ itself"

	// maxFile is how large a file may be that is put into an option. Keys and
	// certificates are smaller; what is larger is the wrong file.
	maxFile = 64 << 10
)

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand puts into a text what it refers to, and returns that by itself, too. What comes
// in by a reference is not looked at again: whoever controls a variable could read files
// with it.
//
// Errors show what is between the braces only if it looks as it should: it may be a piece
// of a password.
func expand(text string) (expanded string, values []string, err error) {
	var b strings.Builder
	for {
		start := strings.Index(text, "${")
		if start < 0 {
			b.WriteString(text)
			return b.String(), values, nil
		}
		if start > 0 && text[start-1] == '$' {
			b.WriteString(text[:start-1] + "${")
			text = text[start+len("${"):]
			continue
		}
		b.WriteString(text[:start])
		reference, rest, closed := strings.Cut(text[start+len("${"):], "}")
		if !closed {
			return "", nil, errors.New("has ${ without }: " + allowedReferences)
		}
		v, err := follow(reference)
		if err != nil {
			return "", nil, err
		}
		b.WriteString(v)
		values = append(values, v)
		text = rest
	}
}

func follow(reference string) (string, error) {
	switch scheme, name, _ := strings.Cut(reference, ":"); scheme {
	case "env":
		return fromEnv(name)
	case "file":
		return fromFile(name)
	}
	return "", errors.New("has ${ with neither env: nor file: behind it: " + allowedReferences)
}

func fromEnv(name string) (string, error) {
	if !variable.MatchString(name) {
		return "", errors.New("has ${env: without a name: allowed are letters, digits and _, as in ${env:NAME}")
	}
	v := os.Getenv(name)
	if v == "" {
		return "", fmt.Errorf("${env:%s}: is empty or not set: allowed is a variable with a value", name)
	}
	return v, nil
}

func fromFile(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", errors.New("has ${file: without an absolute path: allowed is one, as in ${file:/run/secrets/name}")
	}
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("${file:%s}: %w: allowed is a file that can be read and is not empty, of at most %d bytes", path, err, maxFile)
	}
	b, err := readFile(path)
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		err = p.Err // the path is there already
	}
	if err != nil {
		return fail(err)
	}

	// One newline is what an editor or echo has put there.
	v, _ := strings.CutSuffix(string(b), "\n")
	if v, _ = strings.CutSuffix(v, "\r"); v == "" {
		return fail(errors.New("is empty"))
	}
	return v, nil
}

func readFile(path string) (_ []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = errors.New("is too large")
	}
	return b, err
}
