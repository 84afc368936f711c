package clients

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

// piece is a manifest or a blob.
type piece struct {
	digest    digest.Digest
	mediaType string
	size      int64
}

// image is a manifest with what it refers to: blobs, or more manifests.
type image struct {
	piece
	blobs     []piece // the first is the configuration
	manifests []image
}

// parts returns the image with nothing but its configuration, and with nothing but its
// layers.
func (i image) parts() (config, layers image) {
	config, layers = i, i
	config.blobs, layers.blobs = i.blobs[:1], i.blobs[1:]
	return config, layers
}

// content is what the clients push: an OCI layout, which all of them can read.
type content struct {
	dir      string // of the layout
	app      image  // is called "app" there: two layers
	multi    image  // "multi": an index of two images
	artifact image  // "artifact": has the app for its subject
	big      image  // "big": a large layer
	broken   image  // "broken": another
}

func newContent(t testing.TB) *content {
	t.Helper()
	app := newImage(t, "amd64", "one layer", "another layer")
	multi := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64"} {
		multi = mutate.AppendManifests(multi, mutate.IndexAddendum{
			Add:        newImage(t, arch, "a layer for "+arch),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	subject, err := partial.Descriptor(app)
	require.NoError(t, err)
	notes := mutate.ConfigMediaType(newImage(t, "amd64", "notes on the app"), "application/vnd.example.notes")
	artifact := mutate.Subject(notes, *subject).(v1.Image)

	dir, err := layout.Write(tempDir(t), empty.Index)
	require.NoError(t, err)
	named := func(name string) layout.Option {
		return layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": name})
	}
	require.NoError(t, dir.AppendImage(app, named("app")))
	require.NoError(t, dir.AppendIndex(multi, named("multi")))
	require.NoError(t, dir.AppendImage(artifact, named("artifact")))

	c := &content{dir: string(dir), app: describe(t, app), artifact: describe(t, artifact)}
	c.multi = image{piece: pieceOf(t, multi)}
	index, err := multi.IndexManifest()
	require.NoError(t, err)
	for _, m := range index.Manifests {
		img, err := multi.Image(m.Digest)
		require.NoError(t, err)
		c.multi.manifests = append(c.multi.manifests, describe(t, img))
	}
	for name, described := range map[string]*image{"big": &c.big, "broken": &c.broken} {
		img := newImage(t, "amd64", noise(name))
		require.NoError(t, dir.AppendImage(img, named(name)))
		*described = describe(t, img)
	}
	return c
}

// newImage returns an image whose layers are archives that can be unpacked.
func newImage(t testing.TB, arch string, layers ...string) v1.Image {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: arch})
	require.NoError(t, err)
	for i, l := range layers {
		layer, err := crane.Layer(map[string][]byte{fmt.Sprintf("etc/layer-%d", i): []byte(l)})
		require.NoError(t, err)
		img, err = mutate.Append(img, mutate.Addendum{Layer: layer, MediaType: types.OCILayer})
		require.NoError(t, err)
	}
	return img
}

// size is that of a large layer, in bytes.
const size = 512 << 10

// noise is a large content that cannot be compressed.
func noise(seed string) string {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(seed))).Read(b)
	return string(b)
}

// manifest is something that has one.
type manifest interface {
	Digest() (v1.Hash, error)
	MediaType() (types.MediaType, error)
	Size() (int64, error)
}

func pieceOf(t testing.TB, m manifest) piece {
	desc, err := partial.Descriptor(m)
	require.NoError(t, err)
	return piece{digest.Digest(desc.Digest.String()), string(desc.MediaType), desc.Size}
}

func describe(t testing.TB, img v1.Image) image {
	raw, err := img.RawManifest()
	require.NoError(t, err)
	return image{piece: pieceOf(t, img), blobs: blobsOf(t, raw)}
}

// blobsOf returns what the manifest of an image refers to. An index has none.
func blobsOf(t testing.TB, raw []byte) (blobs []piece) {
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	require.NoError(t, err)
	if m.Config.Digest.Hex == "" {
		return nil
	}
	for _, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		blobs = append(blobs, piece{digest.Digest(d.Digest.String()), string(d.MediaType), d.Size})
	}
	return blobs
}
