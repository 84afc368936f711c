package ociregistry

import (
	"mime"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// FuzzMediaType compares what a header says with what package mime makes of it.
func FuzzMediaType(f *testing.F) {
	for _, s := range []string{
		"", ";", "a/b", "a/b;", "a/b; charset=utf-8", "A/B; q", "application/vnd.oci.image.manifest.v1+json; x=\"a;b\"", "a/b;=", " a/b ;c=d", "\x00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := mediaTypeOf(http.Header{"Content-Type": {s}}, "or")
		want, _, _ := mime.ParseMediaType(s)
		switch {
		case s == "":
			assert.Equal(t, "or", got)
		case !strings.Contains(s, ";"):
			assert.Equal(t, strings.ToLower(s), got)
		case want != "": // also with parameters that are none
			assert.Equal(t, want, got)
		default:
			assert.Equal(t, "or", got)
		}
	})
}
