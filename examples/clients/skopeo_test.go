package clients

import (
	"context"
	"testing"
)

// TestSkopeo runs skopeo, which copies from anywhere to anywhere.
func TestSkopeo(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *content) client {
		skopeo := newTool(t, "skopeo", "--insecure-policy", "--override-os=linux", "--override-arch=amd64")
		upload := func(from, to string) func(context.Context) error {
			return skopeo.does("copy", "--dest-tls-verify=false", "--all", "oci:"+c.dir+":"+from, "docker://"+s.host+"/"+to)
		}
		download := func(from string) func(context.Context) error {
			return skopeo.does("copy", "--src-tls-verify=false", "docker://"+s.host+"/"+from, "dir:"+t.TempDir())
		}
		return client{
			do: map[string]func(context.Context) error{
				push:      upload("app", appRepository+":v1"),
				pushAgain: upload("app", appRepository+":v1"),
				pull:      download(appRepository + ":v1"),
				mount: skopeo.does("copy", "--src-tls-verify=false", "--dest-tls-verify=false",
					"docker://"+s.host+"/"+appRepository+":v1", "docker://"+s.host+"/"+copyRepository+":v1"),
				index: func(ctx context.Context) error {
					err := upload("multi", multiRepository+":v1")(ctx)
					if err == nil {
						c.multi = s.readIndex(multiRepository, "v1") // it writes one of its own
					}
					return err
				},
				pullIndex:      download(multiRepository + ":v1"),
				artifact:       upload("artifact", appRepository+":notes"),
				chunked:        upload("big", bigRepository+":v1"),
				brokenUpload:   again(upload("broken", brokenRepository+":v1")),
				brokenDownload: again(download(brokenRepository + ":v1")),
				deleteManifest: skopeo.does("delete", "--tls-verify=false", "docker://"+s.host+"/"+appRepository+":v1"),
			},
			cannot: map[string]string{
				look:       "it has no way to",
				referrers:  "it knows of none",
				deleteTag:  "it deletes the manifest that the tag leads to",
				deleteBlob: "it has no way to",
			},
			differs: map[string]func() []group{
				// It has a cache of what is where, by which it mounts the layers. It never mounts
				// the image's configuration, which it gets and pushes.
				mount: func() []group {
					config, layers := c.app.parts()
					parts := blobs("pull", config, appRepository, "")
					if s.mounts {
						parts = append(parts, blobs("mount", layers, copyRepository, appRepository)...)
						parts = append(parts, blobs("push", config, copyRepository, "")...)
					}
					return []group{{pullOf(c.app, appRepository, "v1")}, parts, {pushOf(c.app, copyRepository, "v1")}}
				},
				// It keeps no list of referrers.
				artifact: pushed(c.artifact, appRepository, "notes"),
				// It neither retries nor resumes, and gets the configuration last.
				brokenDownload: func() []group {
					return append([]group{{pullOf(c.broken, brokenRepository, "v1")}}, pulled(c.broken, brokenRepository, "v1")()...)
				},
				// It is given a tag, and finds out the digest to delete by a GET.
				deleteManifest: func() []group {
					return append([]group{{pullOf(c.app, appRepository, "v1")}}, table(s, c)[deleteManifest]()...)
				},
			},
			special: map[string]int{chunked: 2}, // one for each blob
		}
	})
}
