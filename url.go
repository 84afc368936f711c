package notifications

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// URLBuilder makes the URLs by which a receiver fetches what an event is about.
// What distribution's own API package has for it fits.
type URLBuilder interface {
	// BuildManifestURL returns the URL of a manifest by tag or digest.
	BuildManifestURL(ref reference.Named) (string, error)
	// BuildBlobURL returns the URL of a blob.
	BuildBlobURL(ref reference.Canonical) (string, error)
}

// NewURLBuilder returns a URLBuilder for a registry whose clients find it at root,
// as "https://registry.example.org" or, below a prefix, "https://example.org/hub".
func NewURLBuilder(root string) (URLBuilder, error) {
	u, err := url.Parse(root)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("notifications: URL builder: %w", wrong("url", "%s: allowed is http:// or https://, a host and a path, without user or query", redactURL(root)))
	}
	return urlBuilder(u.Scheme + "://" + u.Host + strings.TrimRight(u.EscapedPath(), "/")), nil
}

// urlBuilder is the URL that "/v2/" follows.
type urlBuilder string

// urlsOf returns a builder for the URL by which the client itself found us.
func (p proxies) urlsOf(r *http.Request) urlBuilder { return urlBuilder(p.appendRoot(nil, r)) }

func (p proxies) appendRoot(b []byte, r *http.Request) []byte {
	var prefix string
	if !strings.HasPrefix(r.URL.Path, "/v2/") {
		before, _, found := strings.Cut(r.URL.EscapedPath(), "/v2/")
		if found {
			prefix = before
		}
	}
	b = append(append(b, p.scheme(r)...), "://"...)
	return append(append(b, p.host(r)...), prefix...)
}

func (b urlBuilder) BuildManifestURL(ref reference.Named) (string, error) {
	switch ref := ref.(type) {
	case reference.Canonical:
		return b.join(ref.Name(), "manifests", ref.Digest().String()), nil
	case reference.NamedTagged:
		return b.join(ref.Name(), "manifests", ref.Tag()), nil
	}
	return "", fmt.Errorf("notifications: manifest URL: %q: allowed is a name with a tag or digest", ref)
}

func (b urlBuilder) BuildBlobURL(ref reference.Canonical) (string, error) {
	return b.join(ref.Name(), "blobs", ref.Digest().String()), nil
}

func (b urlBuilder) join(repository, kind, version string) string {
	return string(b) + "/v2/" + repository + "/" + kind + "/" + version
}

// appendContent appends, behind a root, the path of a manifest or blob by digest.
func appendContent(b []byte, t *Target) []byte {
	b = append(append(b, "/v2/"...), t.Repository...)
	b = append(append(append(b, '/'), t.Type...), "s/"...)
	return append(b, t.Digest...)
}

// pieces makes repository and digest pieces of a URL that appendContent or join has made.
func (t *Target) pieces() {
	dgst := len(t.URL) - len(t.Digest)
	t.Digest = digest.Digest(t.URL[dgst:])
	repository := dgst - len("/") - len(t.Type) - len("s/") - len(t.Repository)
	t.Repository = t.URL[repository:][:len(t.Repository)]
}

// contentURL returns the URL of a manifest or blob by digest, or "" where nobody knows
// the host or the digest is none. A reference is made with regular expressions: our own
// builder is better asked without.
func contentURL(urls URLBuilder, kind string, repo reference.Named, dgst digest.Digest) (string, error) {
	if urls == nil {
		return "", nil
	}
	ref, err := reference.WithDigest(repo, dgst)
	if err != nil {
		return "", nil
	}
	if kind == TypeManifest {
		return urls.BuildManifestURL(ref)
	}
	return urls.BuildBlobURL(ref)
}
