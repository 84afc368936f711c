package ociregistry_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"

	. "github.com/registry-notifications/notifications/ociregistry"
	"github.com/registry-notifications/notifications/sinktest"
)

// TestWhatTheAnswerToAMountIsOf: a registry that does not mount takes what else the request
// has for what it is, and what it answers says of which content it has taken.
func TestWhatTheAnswerToAMountIsOf(t *testing.T) {
	wanted, other := digest.FromString("wanted"), digest.FromString("other")
	long := digest.SHA512.FromString("wanted")
	mount := func(from string) []fact {
		return []fact{{Action: "mount", Type: "blob", Repository: "a", From: from, Digest: wanted, MediaType: octets}}
	}
	const at = "/v2/a/blobs/uploads/?mount="
	for name, row := range map[string]struct {
		url, body        string
		digest, location string // of the answer
		want             []fact
	}{
		"said":                    {at + wanted.String() + "&from=b", "", wanted.String(), "", mount("b")},
		"said by the place alone": {at + wanted.String() + "&from=b", "", "", "/v2/a/blobs/" + wanted.String(), mount("b")},
		"not said":                {at + wanted.String() + "&from=b", "", "", "/elsewhere", mount("b")},
		"said by another algorithm": {at + long.String() + "&from=b", "", wanted.String(), "",
			mount("b")},
		"another":                    {at + wanted.String() + "&from=b", "", other.String(), "", nil},
		"another by the place alone": {at + wanted.String() + "&from=b", "", "", "/v2/a/blobs/" + other.String(), nil},
		"another with a body":        {at + wanted.String() + "&from=b", "other", other.String(), "", nil},

		// A push at once, of which the registry has not looked at the rest.
		"a push":            {at + wanted.String() + "&from=b&digest=" + other.String(), "other", other.String(), "", []fact{pushed("a", "other")}},
		"a push of nothing": {at + wanted.String() + "&from=b&digest=" + digest.FromString("").String(), "", digest.FromString("").String(), "", []fact{pushed("a", "")}},
		"a push of nothing, by the place alone": {at + wanted.String() + "&from=b&digest=" + digest.FromString("").String(), "",
			"", "/v2/a/blobs/" + digest.FromString("").String(), []fact{pushed("a", "")}},
		"neither": {at + wanted.String() + "&from=b&digest=" + digest.FromString("").String(), "", other.String(), "", nil},
		"a mount, and what a push needs": {at + wanted.String() + "&from=b&digest=" + other.String(), "", wanted.String(), "",
			mount("b")},

		// A registry may know by itself where the content is. It is not where no repository can be.
		"from nowhere":          {at + wanted.String(), "", wanted.String(), "", mount("")},
		"from no repository":    {at + wanted.String() + "&from=../b", "", wanted.String(), "", mount("")},
		"from one in capitals":  {at + wanted.String() + "&from=B", "", wanted.String(), "", mount("")},
		"from a repository":     {at + wanted.String() + "&from=b%2Fc", "", wanted.String(), "", mount("b/c")},
		"of what is no content": {at + "wanted&from=b", "", "", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			sink := new(sinktest.Fake)
			r := &rig{t: t, sink: sink, handler: Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				_, _ = io.Copy(io.Discard, req.Body)
				if row.digest != "" {
					w.Header().Set("Docker-Content-Digest", row.digest)
				}
				w.Header().Set("Location", row.location)
				w.WriteHeader(http.StatusCreated)
			}), sink, Config{})}
			r.do(http.StatusCreated, "POST", row.url, row.body)
			assert.Equal(t, row.want, r.told())
		})
	}
}
