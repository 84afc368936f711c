package ociregistry

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const someDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestParse(t *testing.T) {
	long := strings.Repeat("a", 255)
	for path, want := range map[string]route{
		"library/busybox/manifests/latest":      {manifest, "library/busybox", "latest"},
		"a/manifests/" + someDigest:             {manifest, "a", someDigest},
		"a/b/c/d/e/f/g/blobs/" + someDigest:     {blob, "a/b/c/d/e/f/g", someDigest},
		"a/blobs/uploads/":                      {uploads, "a", ""},
		"a/blobs/uploads":                       {uploads, "a", ""},
		"a/blobs/uploads/0-x_Y=.~!%":            {upload, "a", "0-x_Y=.~!%"},
		"a/blobs/uploads/" + someDigest:         {upload, "a", someDigest},
		"a/manifests/" + strings.Repeat("T", 1): {manifest, "a", "T"},
		long + "/manifests/t":                   {manifest, long, "t"},

		// Names that have words of the API, and tags that are one.
		"a/manifests/b/manifests/c":                  {manifest, "a/manifests/b", "c"},
		"a/manifests/b/blobs/" + someDigest:          {blob, "a/manifests/b", someDigest},
		"x/blobs/uploads/manifests/c":                {manifest, "x/blobs/uploads", "c"},
		"x/blobs/uploads/blobs/uploads/":             {uploads, "x/blobs/uploads", ""},
		"x/blobs/uploads/blobs/uploads/s":            {upload, "x/blobs/uploads", "s"},
		"uploads/blobs/uploads/uploads":              {upload, "uploads", "uploads"},
		"manifests/manifests/manifests":              {manifest, "manifests", "manifests"},
		"blobs/manifests/blobs":                      {manifest, "blobs", "blobs"},
		"blobs/blobs/" + someDigest:                  {blob, "blobs", someDigest},
		"tags/manifests/list":                        {manifest, "tags", "list"},
		"a/manifests/uploads":                        {manifest, "a", "uploads"},
		"a/blobs/manifests/uploads":                  {manifest, "a/blobs", "uploads"},
		"a/tags/list/manifests/latest":               {manifest, "a/tags/list", "latest"},
		"a/referrers/blobs/" + someDigest:            {blob, "a/referrers", someDigest},
		"a/blobs/sha512:" + strings.Repeat("0", 128): {blob, "a", "sha512:" + strings.Repeat("0", 128)},
		"a/blobs/sha384:" + strings.Repeat("0", 96):  {blob, "a", "sha384:" + strings.Repeat("0", 96)},
		"a/blobs/multihash+base58:QmRZxt2b1FVZPNqd8": {blob, "a", "multihash+base58:QmRZxt2b1FVZPNqd8"},

		// What some registries serve besides: a slash at the end, and too many in the name of
		// what is no manifest.
		"a/manifests/b/":                     {manifest, "a", "b"},
		"a/blobs/" + someDigest + "/":        {blob, "a", someDigest},
		"/a//b/blobs/" + someDigest:          {blob, "a/b", someDigest},
		"a//blobs/" + someDigest + "/":       {blob, "a", someDigest},
		"a/blobs/uploads/s/":                 {upload, "a", "s"},
		"/a//blobs/uploads":                  {uploads, "a", ""},
		"a///b//blobs/uploads/s":             {upload, "a/b", "s"},
		"/" + long + "//blobs/" + someDigest: {blob, long, someDigest},

		// What is nothing that makes an event.
		"":                          {},
		"_catalog":                  {},
		"a/tags/list":               {},
		"a/referrers/" + someDigest: {},
		"manifests/latest":          {},
		"/manifests/latest":         {},
		"blobs/" + someDigest:       {},
		"blobs/uploads/":            {},
		"blobs/uploads/x":           {},
		"uploads/":                  {},
		"/":                         {},
		"a/manifests/":              {},
		"a/manifests":               {},
		"a/blobs/":                  {},
		"a/blobs/latest":            {},
		"a/manifests/b//":           {},
		"a/blobs/uploads/s//":       {},
		"//blobs/uploads/":          {},
		"/a/A/blobs/" + someDigest:  {},
		"a/uploads/x":               {},
		"../a/manifests/b":          {},
		"a/../b/manifests/c":        {},
		"a/./b/manifests/c":         {},
		"a//b/manifests/c":          {},
		"//a/manifests/c":           {},
		"a//manifests/c":            {},
		"a/manifests//c":            {},
		"a/blobs//uploads/":         {},
		"a/blobs/uploads//":         {},
		"a/manifests/..":            {},
		"a/manifests/.":             {},
		"A/manifests/b":             {},
		"aB/c/blobs/" + someDigest:  {},
		"a___b/manifests/c":         {},
		"a..b/manifests/c":          {},
		"a.-b/manifests/c":          {},
		"a._b/manifests/c":          {},
		"a_.b/manifests/c":          {},
		"a.__b/manifests/c":         {},
		"a-_b/manifests/c":          {},
		"-a/manifests/c":            {},
		"a-/manifests/c":            {},
		"a%2fb/manifests/c":         {},
		"a\x00b/manifests/c":        {},
		"ä/manifests/c":             {},
		"a/manifests/ä":             {},
		"a/manifests/-b":            {},
		"a/manifests/.b":            {},
		"a/manifests/" + strings.Repeat("t", 129):           {},
		long + "a/manifests/t":                              {},
		"a/blobs/sha256:" + strings.ToUpper(someDigest[7:]): {},
		"a/blobs/" + someDigest[:70]:                        {},
		"a/blobs/" + someDigest + "0":                       {},
		"a/blobs/sha256":                                    {},
		"a/blobs/sha256:":                                   {},
		"a/blobs/:abc":                                      {},
		"a/blobs/+x:abc":                                    {},
		"a/blobs/x+:abc":                                    {},
		"a/blobs/x++y:abc":                                  {},
		"a/blobs/SHA256:" + someDigest[7:]:                  {},
		"a/blobs/x:a:b":                                     {},
	} {
		assert.Equal(t, want, parse(path), "%q", path)
	}
}

// TestParseOfEncodedPaths has what net/http makes of a request's line: it decodes, so a
// slash is one however it was written, and a registry that sees it otherwise says 404.
func TestParseOfEncodedPaths(t *testing.T) {
	for line, want := range map[string]route{
		"/v2/a%2fb/manifests/c": {manifest, "a/b", "c"},
		"/v2/a/manifests%2Fc":   {manifest, "a", "c"},
		"/v2/a/blobs/" + strings.Replace(someDigest, ":", "%3A", 1): {blob, "a", someDigest},
		"/v2/a%252fb/manifests/c":                                   {},
		"/v2/%2e%2e/a/manifests/c":                                  {},
		"/v2/a%00/manifests/c":                                      {},
		"/v2/a%20b/manifests/c":                                     {},
		"/v2/a/manifests/c%2f..":                                    {},
	} {
		u, err := url.ParseRequestURI(line)
		require.NoError(t, err)
		path, ok := strings.CutPrefix(u.Path, "/v2/")
		require.True(t, ok)
		assert.Equal(t, want, parse(path), "%q", line)
	}
}

// The regular expressions are those of the specification, and of package go-digest.
var (
	specName   = regexp.MustCompile(`\A[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*\z`)
	specTag    = regexp.MustCompile(`\A[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\z`)
	specDigest = regexp.MustCompile(`\A[a-z0-9]+([+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+\z`)
)

func specIsName(s string) bool { return len(s) <= 255 && specName.MatchString(s) }

func specIsDigest(s string) bool {
	if len(s) > 255 || !specDigest.MatchString(s) {
		return false
	}
	algorithm, encoded, _ := strings.Cut(s, ":")
	if a := digest.Algorithm(algorithm); a.Available() {
		return a.Validate(encoded) == nil
	}
	return true
}

// specParse says what a path can be by the specification: at most one of these.
func specParse(path string) route {
	path = strings.TrimSuffix(path, "/")
	for _, form := range []struct {
		kind      kind
		path      *regexp.Regexp
		reference func(string) bool
	}{
		{manifest, manifestPath, func(s string) bool { return specTag.MatchString(s) || specIsDigest(s) }},
		{blob, blobPath, specIsDigest},
		{uploads, uploadsPath, func(s string) bool { return s == "" }},
		{upload, uploadPath, func(s string) bool { return s != "" }},
	} {
		m := form.path.FindStringSubmatch(path)
		if m == nil || !form.reference(m[2]) {
			continue
		}
		name := m[1]
		if form.kind != manifest {
			name = strings.Trim(slashes.ReplaceAllString(name, "/"), "/")
		}
		if specIsName(name) {
			return route{form.kind, name, m[2]}
		}
	}
	return route{}
}

var (
	manifestPath = regexp.MustCompile(`\A(.*)/manifests/([^/]*)\z`)
	blobPath     = regexp.MustCompile(`\A(.*)/blobs/([^/]*)\z`)
	uploadsPath  = regexp.MustCompile(`\A(.*)/blobs/uploads()\z`)
	uploadPath   = regexp.MustCompile(`\A(.*)/blobs/uploads/([^/]*)\z`)
	slashes      = regexp.MustCompile(`/+`)
)

// FuzzParse compares the parser with the specification's regular expressions.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "a/manifests/b", "a/blobs/" + someDigest, "a/blobs/uploads/", "a/blobs/uploads/s", "a__b.c---d/e/manifests/t",
		"a/manifests/uploads", "a/blobs/uploads", "x/blobs/uploads/manifests/t", "a/b+c.d:e", "a_.b/manifests/c", "a/blobs/sha512:0",
		"../a//b/manifests/..", "a/manifests/b\n", "uploads/blobs/uploads/uploads", "a/blobs/uploads//", "/a//b/blobs/uploads/s/", "//a/manifests/b/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		assert.Equal(t, specIsName(s), isName(s), "name %q", s)
		assert.Equal(t, specTag.MatchString(s), isTag(s), "tag %q", s)
		assert.Equal(t, specIsDigest(s), isDigest(s), "digest %q", s)
		if !strings.Contains(s, "\n") { // which . does not match
			assert.Equal(t, specParse(s), parse(s), "path %q", s)
		}
	})
}
