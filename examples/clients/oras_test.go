package clients

import (
	"context"
	"net/http"
	"os"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/retry"
)

// TestORAS runs oras-go.
func TestORAS(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *content) client {
		transport := new(http.Transport)
		t.Cleanup(transport.CloseIdleConnections)
		retries := retry.NewTransport(transport)
		retries.Policy = func() retry.Policy {
			return &retry.GenericPolicy{Retryable: retry.DefaultPredicate, Backoff: func(int, *http.Response) time.Duration { return time.Millisecond }, MaxRetry: 3}
		}
		repository := func(name string) *remote.Repository {
			r, err := remote.NewRepository(s.host + "/" + name)
			require.NoError(t, err)
			r.PlainHTTP = true
			r.Client = &auth.Client{Client: &http.Client{Transport: retries}}
			return r
		}
		layout, err := oci.NewFromFS(t.Context(), os.DirFS(c.dir))
		require.NoError(t, err)
		upload := func(from, to, tag string) func(context.Context) error {
			return func(ctx context.Context) error {
				_, err := oras.Copy(ctx, layout, from, repository(to), tag, oras.DefaultCopyOptions)
				return err
			}
		}
		// Of blobs side by side, one that breaks off has it cancel the others, and it is chance
		// how far these are.
		oneByOne := oras.DefaultCopyOptions
		oneByOne.Concurrency = 1
		download := func(from string) func(context.Context) error {
			return func(ctx context.Context) error {
				_, err := oras.Copy(ctx, repository(from), "v1", memory.New(), "v1", oneByOne)
				return err
			}
		}
		return client{
			do: map[string]func(context.Context) error{
				push:      upload("app", appRepository, "v1"),
				pushAgain: upload("app", appRepository, "v1"),
				look: func(ctx context.Context) error {
					_, err := repository(appRepository).Resolve(ctx, "v1")
					return err
				},
				pull: download(appRepository),
				mount: func(ctx context.Context) error {
					options := oras.DefaultCopyOptions
					options.MountFrom = func(context.Context, v1.Descriptor) ([]string, error) { return []string{appRepository}, nil }
					_, err := oras.Copy(ctx, repository(appRepository), "v1", repository(copyRepository), "v1", options)
					return err
				},
				index: upload("multi", multiRepository, "v1"),
				pullIndex: func(ctx context.Context) error {
					options := oras.DefaultCopyOptions
					options.WithTargetPlatform(&v1.Platform{OS: "linux", Architecture: "amd64"})
					_, err := oras.Copy(ctx, repository(multiRepository), "v1", memory.New(), "v1", options)
					return err
				},
				artifact: upload("artifact", appRepository, "notes"),
				referrers: func(ctx context.Context) error {
					return repository(appRepository).Referrers(ctx, ociDescriptor(c.app.piece), "", func([]v1.Descriptor) error { return nil })
				},
				chunked: upload("big", bigRepository, "v1"),
				brokenUpload: again(func(ctx context.Context) error {
					_, err := oras.Copy(ctx, layout, "broken", repository(brokenRepository), "v1", oneByOne)
					return err
				}),
				brokenDownload: again(download(brokenRepository)),
				deleteManifest: func(ctx context.Context) error {
					return repository(appRepository).Delete(ctx, ociDescriptor(c.app.piece))
				},
				deleteBlob: func(ctx context.Context) error {
					return repository(bigRepository).Blobs().Delete(ctx, ociDescriptor(c.big.blobs[1]))
				},
			},
			cannot: map[string]string{
				deleteTag: "it has no way to",
			},
			differs: map[string]func() []group{
				// It lists the referrers itself unless the registry says, in its answer to the
				// push, that it does. Go-containerregistry does, and does not say so.
				artifact: func() []group { return pushedAndListed(s, c) },
				// It neither retries nor resumes what it reads, and what it had is lost.
				brokenDownload: func() []group {
					manifest := pullOf(c.broken, brokenRepository, "v1")
					all := blobs("pull", c.broken, brokenRepository, "")
					return []group{{manifest}, all[:1], {manifest}, all}
				},
				// It looks first whether the manifest has a subject.
				deleteManifest: func() []group {
					return append([]group{{pullOf(c.app, appRepository, "")}}, table(s, c)[deleteManifest]()...)
				},
			},
		}
	})
}

func ociDescriptor(p piece) v1.Descriptor {
	return v1.Descriptor{MediaType: p.mediaType, Digest: p.digest, Size: p.size}
}
