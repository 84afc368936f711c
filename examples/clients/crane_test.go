package clients

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"
)

// TestCrane runs go-containerregistry's client, which streams what it uploads.
func TestCrane(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *content) client {
		transport := new(http.Transport)
		t.Cleanup(transport.CloseIdleConnections)
		dir, err := layout.FromPath(c.dir)
		require.NoError(t, err)
		options := func(ctx context.Context) []crane.Option {
			return []crane.Option{crane.WithContext(ctx), crane.WithTransport(transport), crane.Insecure, patient}
		}
		upload := func(i image, to string) func(context.Context) error {
			return func(ctx context.Context) error {
				img, err := dir.Image(hash(t, i))
				if err != nil {
					return err
				}
				return crane.Push(img, s.host+"/"+to, options(ctx)...)
			}
		}
		download := func(from string) func(context.Context) error {
			return func(ctx context.Context) error {
				amd64 := crane.WithPlatform(&v1.Platform{OS: "linux", Architecture: "amd64"})
				img, err := crane.Pull(s.host+"/"+from, append(options(ctx), amd64)...)
				if err != nil {
					return err
				}
				if _, err := img.RawConfigFile(); err != nil {
					return err
				}
				return crane.Export(img, io.Discard)
			}
		}
		return client{
			do: map[string]func(context.Context) error{
				push:      upload(c.app, appRepository+":v1"),
				pushAgain: upload(c.app, appRepository+":v1"),
				look: func(ctx context.Context) error {
					_, err := crane.Head(s.host+"/"+appRepository+":v1", options(ctx)...)
					return err
				},
				pull: download(appRepository + ":v1"),
				mount: func(ctx context.Context) error {
					return crane.Copy(s.host+"/"+appRepository+":v1", s.host+"/"+copyRepository+":v1", options(ctx)...)
				},
				index: func(ctx context.Context) error {
					idx, err := dir.ImageIndex()
					if err != nil {
						return err
					}
					if idx, err = idx.ImageIndex(hash(t, c.multi)); err != nil {
						return err
					}
					ref, err := name.ParseReference(s.host+"/"+multiRepository+":v1", name.Insecure)
					if err != nil {
						return err
					}
					return remote.WriteIndex(ref, idx, remote.WithContext(ctx), remote.WithTransport(transport))
				},
				pullIndex: download(multiRepository + ":v1"),
				artifact:  upload(c.artifact, appRepository+":notes"),
				referrers: func(ctx context.Context) error {
					ref, err := name.NewDigest(s.host+"/"+appRepository+"@"+c.app.digest.String(), name.Insecure)
					if err != nil {
						return err
					}
					idx, err := remote.Referrers(ref, remote.WithContext(ctx), remote.WithTransport(transport))
					if err != nil {
						return err
					}
					_, err = idx.IndexManifest()
					return err
				},
				chunked:        upload(c.big, bigRepository+":v1"),
				brokenUpload:   upload(c.broken, brokenRepository+":v1"),
				brokenDownload: again(download(brokenRepository + ":v1")),
				deleteTag: func(ctx context.Context) error {
					return crane.Delete(s.host+"/"+multiRepository+":v1", options(ctx)...)
				},
				deleteManifest: func(ctx context.Context) error {
					return crane.Delete(s.host+"/"+appRepository+"@"+c.app.digest.String(), options(ctx)...)
				},
			},
			cannot: map[string]string{
				deleteBlob: "it has no way to",
			},
			differs: map[string]func() []group{
				// It asks first, and has nothing to do.
				pushAgain: nothing,
				// It neither retries nor resumes what it reads, so somebody has to do it again.
				brokenDownload: func() []group {
					manifest := pullOf(c.broken, brokenRepository, "v1")
					all := blobs("pull", c.broken, brokenRepository, "")
					return []group{{manifest}, all[:1], {manifest}, all}
				},
			},
			special: map[string]int{chunked: 2}, // one for each blob
		}
	})
}

// patient has crane retry sooner than it does on its own, which is after a second.
func patient(o *crane.Options) {
	o.Remote = append(o.Remote, remote.WithRetryBackoff(remote.Backoff{Duration: time.Millisecond, Steps: 3}))
}

func hash(t *testing.T, i image) v1.Hash {
	h, err := v1.NewHash(i.digest.String())
	require.NoError(t, err)
	return h
}
