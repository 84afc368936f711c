package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"time"

	registry "github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/manifest/ocischema"
	theirs "github.com/distribution/distribution/v3/notifications"
	v2 "github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/registry-notifications/notifications"
)

// calls measures what the decorators add to what a handler of the registry does.
func calls() experiment {
	e := experiment{round: callRound}
	for _, name := range []string{"manifest-get", "blob-serve", "manifest-put"} {
		e.rows = append(e.rows, row{
			name: "call/" + name, unit: "ns added", peer: distribution,
			targets: []target{atMost(ratio, 0.25)},
		})
	}
	return e
}

func callRound(s scale) ([]sample, error) {
	server, err := stockServer()
	if err != nil {
		return nil, err
	}
	image, err := pushImage(server)
	if err != nil {
		return nil, err
	}
	three := setup{endpoints: 3, dead: true}
	ours, err := newOurHub(three)
	if err != nil {
		return nil, err
	}
	theirs, err := newTheirHub(three)
	if err != nil {
		return nil, err
	}
	bridge, err := notifications.NewBridge(ours, notifications.BridgeConfig{Source: source})
	if err != nil {
		return nil, err
	}
	requests := []request{server.bare, server.ours(bridge), server.theirs(theirs)}

	var samples []sample
	for _, call := range []handler{image.getManifest, image.serveBlob, image.putManifest} {
		var does []func() error
		for _, request := range requests {
			does = append(does, func() error { return request(image.repository, call) })
		}
		took, err := takeTurns(does, s.of(200))
		if err != nil {
			return nil, err
		}
		samples = append(samples, sample{ours: took[1], peer: took[2]})
	}
	return samples, errors.Join(ours.stop(), theirs.stop())
}

// handler is what a registry's handler does with the repository.
type handler func(context.Context, registry.Repository) error

// request decorates the repository as it is done for each request, and handles that.
type request func(registry.Repository, handler) error

func (s *stock) bare(repo registry.Repository, h handler) error { return h(s.ctx, repo) }

// ours decorates for the one bridge that a server has. Theirs has the request in it, and is
// made for each.
func (s *stock) ours(bridge *notifications.Bridge) request {
	remover, _ := s.Namespace.(registry.RepositoryRemover)
	return func(repo registry.Repository, h handler) error {
		repo, _ = notifications.Listen(repo, remover, bridge)
		return h(s.ctx, repo)
	}
}

func (s *stock) theirs(hub *theirHub) request {
	remover, _ := s.Namespace.(registry.RepositoryRemover)
	urls := v2.NewURLBuilderFromRequest(s.request, false)
	return func(repo registry.Repository, h handler) error {
		id, _ := s.ctx.Value("http.request.id").(string)
		user, _ := s.ctx.Value("auth.user.name").(string)
		bridge := theirs.NewBridge(urls, theirs.SourceRecord(source), theirs.ActorRecord{Name: user},
			theirs.NewRequestRecord(id, s.request), hub, false)
		repo, _ = theirs.Listen(repo, remover, bridge)
		return h(s.ctx, repo)
	}
}

// takeTurns lets several do the same in turns, in small batches, each time in another
// order. It returns the nanoseconds by which each took longer than the first: the
// medians, because a call takes many times what is added to it.
func takeTurns(does []func() error, turns int) ([]float64, error) {
	const calls = 16
	added := make([][]float64, len(does))
	runtime.GC()
	for turn := range turns {
		took := make([]float64, len(does))
		for i := range does {
			i = (i + turn) % len(does)
			start := time.Now()
			for range calls {
				if err := does[i](); err != nil {
					return nil, err
				}
			}
			took[i] = float64(time.Since(start).Nanoseconds()) / calls
		}
		for i := range took {
			added[i] = append(added[i], took[i]-took[0])
		}
	}
	medians := make([]float64, len(does))
	for i, differences := range added {
		slices.Sort(differences)
		medians[i] = middle(differences)
	}
	return medians, nil
}

// image is what is in the repository.
type image struct {
	repository registry.Repository
	request    *http.Request
	layer      registry.Descriptor
	manifest   registry.Manifest
	digest     digest.Digest
}

// pushImage puts an image with one empty layer into the repository that the stock request
// is about.
func pushImage(s *stock) (*image, error) {
	name, err := reference.WithName("team-01/service-001")
	if err != nil {
		return nil, err
	}
	repo, err := s.Namespace.Repository(s.ctx, name)
	if err != nil {
		return nil, err
	}
	blobs := repo.Blobs(s.ctx)
	config, err := blobs.Put(s.ctx, imagespec.MediaTypeImageConfig, []byte(`{"architecture":"amd64","os":"linux"}`))
	if err != nil {
		return nil, err
	}
	// Empty, because the storage takes a buffer of 4 MiB to read one that is not, and in
	// that millisecond all that is measured would be lost.
	layer, err := blobs.Put(s.ctx, imagespec.MediaTypeImageLayerGzip, nil)
	if err != nil {
		return nil, err
	}
	manifest, err := ocischema.FromStruct(ocischema.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagespec.MediaTypeImageManifest,
		Config: config, Layers: []registry.Descriptor{layer},
	})
	if err != nil {
		return nil, err
	}
	i := &image{repository: repo, request: s.request, layer: layer, manifest: manifest}
	manifests, err := repo.Manifests(s.ctx)
	if err != nil {
		return nil, err
	}
	i.digest, err = manifests.Put(s.ctx, manifest)
	return i, err
}

func (i *image) getManifest(ctx context.Context, repo registry.Repository) error {
	manifests, err := repo.Manifests(ctx)
	if err != nil {
		return err
	}
	_, err = manifests.Get(ctx, i.digest, registry.WithTag("v1"))
	return err
}

func (i *image) serveBlob(ctx context.Context, repo registry.Repository) error {
	blobs := repo.Blobs(ctx)
	desc, err := blobs.Stat(ctx, i.layer.Digest)
	if err != nil {
		return err
	}
	client := &client{header: make(http.Header)}
	if err := blobs.ServeBlob(ctx, client, i.request, desc.Digest); err != nil {
		return err
	}
	if client.status != http.StatusOK {
		return fmt.Errorf("serving a blob: status %d", client.status)
	}
	return nil
}

func (i *image) putManifest(ctx context.Context, repo registry.Repository) error {
	manifests, err := repo.Manifests(ctx)
	if err != nil {
		return err
	}
	dgst, err := manifests.Put(ctx, i.manifest, registry.WithTag("v1"))
	if err != nil {
		return err
	}
	// As the server does, and ours waits for.
	return repo.Tags(ctx).Tag(ctx, "v1", registry.Descriptor{Digest: dgst})
}

// client is a ResponseWriter that keeps only the status.
type client struct {
	header http.Header
	status int
}

func (c *client) Header() http.Header         { return c.header }
func (c *client) WriteHeader(status int)      { c.status = status }
func (c *client) Write(p []byte) (int, error) { return len(p), nil }
