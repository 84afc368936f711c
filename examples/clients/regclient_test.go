package clients

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/regclient/regclient"
	"github.com/regclient/regclient/config"
	"github.com/regclient/regclient/scheme/reg"
	"github.com/regclient/regclient/types/descriptor"
	"github.com/regclient/regclient/types/ref"
	"github.com/stretchr/testify/require"
)

// TestRegclient runs regclient, which uploads what is large in chunks.
func TestRegclient(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *content) client {
		rc := regclient.New(
			regclient.WithConfigHost(config.Host{
				Name: s.host, Hostname: s.host, TLS: config.TLSDisabled, BlobMax: size / 2, BlobChunk: size / 4,
			}),
			regclient.WithRegOpts(reg.WithDelay(time.Millisecond, time.Millisecond)),
			regclient.WithSlog(slog.New(slog.DiscardHandler)),
		)
		at := func(format string) ref.Ref {
			r, err := ref.New(format)
			require.NoError(t, err)
			return r
		}
		layout := func(name string) ref.Ref { return at("ocidir://" + c.dir + ":" + name) }
		there := func(name string) ref.Ref { return at(s.host + "/" + name) }
		transfer := func(from, to ref.Ref) func(context.Context) error {
			return func(ctx context.Context) error { return rc.ImageCopy(ctx, from, to) }
		}
		cl := client{
			do: map[string]func(context.Context) error{
				push:      transfer(layout("app"), there(appRepository+":v1")),
				pushAgain: transfer(layout("app"), there(appRepository+":v1")),
				look: func(ctx context.Context) error {
					_, err := rc.ManifestHead(ctx, there(appRepository+":v1"))
					return err
				},
				pull:  transfer(there(appRepository+":v1"), at("ocidir://"+t.TempDir()+":v1")),
				mount: transfer(there(appRepository+":v1"), there(copyRepository+":v1")),
				index: transfer(layout("multi"), there(multiRepository+":v1")),
				pullIndex: func(ctx context.Context) error {
					return rc.ImageCopy(ctx, there(multiRepository+":v1"), at("ocidir://"+t.TempDir()+":v1"), regclient.ImageWithPlatforms([]string{"linux/amd64"}))
				},
				artifact: transfer(layout("artifact"), there(appRepository+":notes")),
				referrers: func(ctx context.Context) error {
					_, err := rc.ReferrerList(ctx, there(appRepository+"@"+c.app.digest.String()))
					return err
				},
				chunked:        transfer(layout("big"), there(bigRepository+":v1")),
				brokenUpload:   transfer(layout("broken"), there(brokenRepository+":v1")),
				brokenDownload: transfer(there(brokenRepository+":v1"), at("ocidir://"+t.TempDir()+":v1")),
				deleteTag: func(ctx context.Context) error {
					return rc.TagDelete(ctx, there(multiRepository+":v1"))
				},
				deleteManifest: func(ctx context.Context) error {
					return rc.ManifestDelete(ctx, there(appRepository+"@"+c.app.digest.String()))
				},
				deleteBlob: func(ctx context.Context) error {
					b := c.big.blobs[1]
					return rc.BlobDelete(ctx, there(bigRepository), descriptor.Descriptor{MediaType: b.mediaType, Digest: b.digest, Size: b.size})
				},
			},
			differs: map[string]func() []group{
				// It asks first, and has nothing to do.
				pushAgain: nothing,
				// As oras-go does, it goes by what the registry says to the push.
				artifact: func() []group { return pushedAndListed(s, c) },
			},
			special: map[string]int{chunked: 5, brokenUpload: 1, brokenDownload: 1},
		}
		if !s.resumes {
			// It tries to go on, gives up, and somebody has to do it again. The layer is the first
			// time alone: of blobs side by side, one that fails has it cancel the others, and it
			// is chance how far these are.
			layer := c.broken.blobs[1]
			breaks := func(from, to ref.Ref) func(context.Context) error {
				return fails(func(ctx context.Context) error {
					return rc.BlobCopy(ctx, from, to, descriptor.Descriptor{MediaType: layer.mediaType, Digest: layer.digest, Size: layer.size})
				})
			}
			to := at("ocidir://" + t.TempDir() + ":v1")
			cl.do[brokenUpload] = inTurn(breaks(layout("broken"), there(brokenRepository+":v1")), cl.do[brokenUpload])
			cl.do[brokenDownload] = inTurn(breaks(there(brokenRepository+":v1"), to), transfer(there(brokenRepository+":v1"), to))
		}
		return cl
	})
}
