package ociregistry

import (
	"strings"

	"github.com/opencontainers/go-digest"
)

// kind is what a path of the API is about.
type kind int

const (
	other    kind = iota
	manifest      // manifests/<reference>
	blob          // blobs/<digest>
	uploads       // blobs/uploads/
	upload        // blobs/uploads/<session>
)

// route is what a path says. The strings are pieces of the path.
type route struct {
	kind      kind
	name      string // of the repository
	reference string // of a manifest, the digest of a blob, or the session of an upload
}

// parse finds out what a path below the API's root ("/v2/") is about. A name may have
// parts that are words of the API, so the end of a path decides. There, a slash more makes
// nothing else of it.
func parse(path string) route {
	path = strings.TrimSuffix(path, "/")
	if name, ok := strings.CutSuffix(path, "/blobs/uploads"); ok {
		return named(uploads, name, "")
	}
	rest, last, ok := cutLast(path)
	if !ok {
		return route{}
	}
	rest, word, ok := cutLast(rest)
	switch {
	case !ok:
		return route{}
	case word == "manifests" && (isDigest(last) || isTag(last)):
		return named(manifest, rest, last)
	case word == "blobs" && isDigest(last):
		return named(blob, rest, last)
	case word == "uploads" && last != "":
		if name, ok := strings.CutSuffix(rest, "/blobs"); ok {
			return named(upload, name, last)
		}
	}
	return route{}
}

// named returns the route if the name is one. Slashes too many in it are none for those
// registries that serve blobs under it all the same; but a manifest they put where only
// that name finds it.
func named(k kind, name, reference string) route {
	if k != manifest && !isName(name) {
		name = strings.Join(strings.FieldsFunc(name, func(c rune) bool { return c == '/' }), "/")
	}
	if !isName(name) {
		return route{}
	}
	return route{kind: k, name: name, reference: reference}
}

func cutLast(path string) (rest, last string, ok bool) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path, false
	}
	return path[:i], path[i+1:], true
}

// The three grammars are those of the specification, without its regular expressions,
// which would be most of what a request costs here. Of a name it allows no more than 255
// bytes where a registry has to work with every client.

const maxName = 255

func isName(s string) bool {
	if len(s) > maxName {
		return false
	}
	for more := true; more; {
		var part string
		part, s, more = strings.Cut(s, "/")
		if !isPart(part) {
			return false
		}
	}
	return true
}

// isPart says whether s is letters and digits, with a dot, one or two underscores, or any
// number of hyphens between them.
func isPart(s string) bool {
	if s == "" || !isAlnum(s[0]) || !isAlnum(s[len(s)-1]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		c := s[i]
		if isAlnum(c) {
			continue
		}
		end := i + 1
		for !isAlnum(s[end]) { // the last is
			end++
		}
		switch between := s[i:end]; {
		case between == ".", between == "_", between == "__":
		case strings.Trim(between, "-") == "":
		default:
			return false
		}
		i = end
	}
	return true
}

func isAlnum(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

func isWord(c byte) bool { return isAlnum(c) || 'A' <= c && c <= 'Z' || c == '_' }

func isTag(s string) bool {
	if s == "" || len(s) > 128 || !isWord(s[0]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		if c := s[i]; !isWord(c) && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

// isDigest says whether s may be a digest, of whatever algorithm. Of those that everybody
// knows it has the right length.
func isDigest(s string) bool {
	if encoded, ok := strings.CutPrefix(s, "sha256:"); ok { // as nearly all are
		return isHex(encoded, 64)
	}
	algorithm, encoded, ok := strings.Cut(s, ":")
	if !ok || algorithm == "" || encoded == "" || len(s) > maxName {
		return false
	}
	for i := range len(algorithm) {
		c := algorithm[i]
		if !isAlnum(c) && (i == 0 || i == len(algorithm)-1 || !strings.ContainsRune("+._-", rune(c)) || !isAlnum(algorithm[i-1])) {
			return false
		}
	}
	for i := range len(encoded) {
		if c := encoded[i]; !isWord(c) && c != '=' && c != '-' {
			return false
		}
	}
	switch digest.Algorithm(algorithm) {
	case digest.SHA384:
		return isHex(encoded, 96)
	case digest.SHA512:
		return isHex(encoded, 128)
	}
	return true
}

func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range len(s) {
		if !hexDigits[s[i]] {
			return false
		}
	}
	return true
}

var hexDigits = func() (is [256]bool) {
	for _, c := range "0123456789abcdef" {
		is[c] = true
	}
	return is
}()
