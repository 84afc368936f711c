package clients

import (
	"context"
	"testing"
)

// Podman and buildah keep images unpacked, and pack them again to push them. So what a
// registry has then is found out by asking it.

// ownStorage returns what has podman or buildah keep its images below a directory of the
// test's, by means that work in a container, too.
func ownStorage(t *testing.T) []string {
	dir := tempDir(t)
	return []string{"--storage-driver=vfs", "--root=" + dir + "/root", "--runroot=" + dir + "/run"}
}

// unpacked is such a client, which does what both can, and perhaps more.
func unpacked(s *server, c *content, do map[string]func(context.Context) error) client {
	return client{
		do: do,
		cannot: map[string]string{
			artifact:       "it knows of none",
			referrers:      "it knows of none",
			deleteTag:      "it has no way to",
			deleteManifest: "it has no way to",
			deleteBlob:     "it has no way to",
		},
		differs: map[string]func() []group{
			// They get the manifest to see whether it is newer.
			look: func() []group { return []group{{pullOf(c.app, appRepository, "v1")}} },
			// They have the image, and know from a cache where else it is: they mount the
			// layers, but never its configuration.
			mount: func() []group {
				config, layers := c.app.parts()
				parts := blobs("push", layers, copyRepository, "")
				if s.mounts {
					parts = append(blobs("mount", layers, copyRepository, appRepository), blobs("push", config, copyRepository, "")...)
				}
				return []group{parts, {pushOf(c.app, copyRepository, "v1")}}
			},
			// They do not resume, and get the configuration first.
			brokenDownload: func() []group {
				manifest := pullOf(c.broken, brokenRepository, "v1")
				all := blobs("pull", c.broken, brokenRepository, "")
				return []group{{manifest}, all[:1], {manifest}, all}
			},
		},
		special: map[string]int{chunked: 2}, // one for each blob
	}
}
