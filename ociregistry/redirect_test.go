package ociregistry_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"

	. "github.com/registry-notifications/notifications/ociregistry"
	"github.com/registry-notifications/notifications/sinktest"
)

// TestRedirectToStorageOrToALogin has where registries have their blobs, and where logins
// are.
func TestRedirectToStorageOrToALogin(t *testing.T) {
	d := digest.FromString("content")
	at := "/v2/a/blobs/" + d.String()
	back := url.QueryEscape(at)
	for name, row := range map[string]struct {
		location string
		status   int
		asks     bool // who it is
		pull     bool
	}{
		"a storage driver":         {"https://bucket.s3.example.org/docker/registry/v2/blobs/sha256/ed/" + d.Encoded() + "/data?X-Amz-Signature=y", 307, false, true},
		"one on the same host":     {"/storage/sha256/ed/" + d.Encoded() + "/data", 307, false, true},
		"by the digest":            {"https://cdn.example.org/ghcr1/blobs/" + d.String() + "?se=2026&sig=y", 307, false, true},
		"by a token":               {"https://bucket.s3.example.org/4f1c-9a/77b2d1?X-Amz-Signature=y", 307, false, true},
		"by one on the same host":  {"/artifacts-downloads/namespaces/n/repositories/r/downloads/AJiTy", 302, false, true},
		"a digest in a query":      {"https://storage.example.org/get?content=" + url.QueryEscape(d.String()), 303, false, true},
		"of a repository login":    {"https://bucket.example.org/login/blobs/sha256/ed/" + d.Encoded() + "/data", 307, false, true},
		"a token with a word":      {"https://bucket.example.org/4xloginx/signing", 307, false, true},
		"a login":                  {"/login", 302, false, false},
		"one elsewhere":            {"https://sso.example.org/realms/r/login/form", 303, false, false},
		"one in capitals":          {"https://sso.example.org/Login?x=1", 302, false, false},
		"a sign in":                {"https://example.org/users/sign_in", 302, false, false},
		"one by OAuth":             {"https://sso.example.org/authorize?client_id=x&response_type=code&state=opaque", 302, false, false},
		"one by SAML":              {"https://sso.example.org/idp?SAMLRequest=fZFfa8IwFMXfBb", 302, false, false},
		"one that leads back":      {"https://sso.example.org/start?rd=" + back, 302, false, false},
		"one that leads to a host": {"https://sso.example.org/start?rd=https%3A%2F%2Fexample.com" + back, 302, false, false},
		"one that asks":            {"https://sso.example.org/start", 307, true, false},
		"the path as it should be": {at, 307, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			sink := new(sinktest.Fake)
			h := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if row.asks {
					w.Header().Set("WWW-Authenticate", "Basic")
				}
				http.Redirect(w, r, row.location, row.status)
			}), sink, Config{})
			r := &rig{t: t, sink: sink, handler: h}
			spelt := at
			if row.location == at {
				spelt += "/"
			}
			r.do(row.status, "GET", spelt, nil)
			var want []fact
			if row.pull {
				want = []fact{pulled("a", "content")}
				want[0].Size = 0
			}
			assert.Equal(t, want, r.told())
		})
	}
}
