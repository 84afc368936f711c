package comparison

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/manifest/ocischema"
	stock "github.com/distribution/distribution/v3/notifications"
	v2 "github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/distribution/reference"
	events "github.com/docker/go-events"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
)

// decorator puts listeners around a repository and a remover.
type decorator func(distribution.Repository, distribution.RepositoryRemover) (distribution.Repository, distribution.RepositoryRemover)

// byDecorators calls every method that makes an event, those too that no handler
// of a stock server calls, on a real repository with either decorator.
func byDecorators(t *testing.T) {
	request := httptest.NewRequest(http.MethodPut, "/v2/library/app/", nil)
	request.Header.Set("User-Agent", "nobody")
	ctx := notifications.ContextWithRequest(t.Context(), "the-request", request)
	ctx = notifications.ContextWithActor(ctx, notifications.ActorRecord{Name: "ada"})
	const root = "http://registry.example.org"

	var theirs record
	urls, err := v2.NewURLBuilderFromString(root, false)
	require.NoError(t, err)
	theirBridge := stock.NewBridge(urls,
		stock.SourceRecord{Addr: "node:5000", InstanceID: "i"}, stock.ActorRecord{Name: "ada"},
		stock.NewRequestRecord("the-request", request), theirSink{&theirs}, true)
	callAll(ctx, t, &theirs, func(c count) int { return c.theirs }, func(repo distribution.Repository, remover distribution.RepositoryRemover) (distribution.Repository, distribution.RepositoryRemover) {
		return stock.Listen(repo, remover, theirBridge)
	})

	var ours record
	config := notifications.BridgeConfig{
		Source: notifications.SourceRecord{Addr: "node:5000", InstanceID: "i"}, IncludeReferences: true,
	}
	config.URLs, err = notifications.NewURLBuilder(root)
	require.NoError(t, err)
	ourBridge, err := notifications.NewBridge(ourSink{&ours}, config)
	require.NoError(t, err)
	callAll(ctx, t, &ours, func(c count) int { return c.ours }, func(repo distribution.Repository, remover distribution.RepositoryRemover) (distribution.Repository, distribution.RepositoryRemover) {
		return notifications.Listen(repo, remover, ourBridge)
	})

	compare(t, theirs.events, ours.events, nil, wireDifferences)
}

// record is the events of one decorator, as JSON has them.
type record struct{ events []values }

func (r *record) add(e any) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v values
	err = d.Decode(&v)
	r.events = append(r.events, v)
	return err
}

type theirSink struct{ record *record }

func (s theirSink) Write(e events.Event) error { return s.record.add(e) }
func (s theirSink) Close() error               { return nil }

type ourSink struct{ record *record }

func (s ourSink) Write(_ context.Context, events ...*notifications.Event) error {
	for _, e := range events {
		if err := s.record.add(e); err != nil {
			return err
		}
	}
	return nil
}

func (s ourSink) Close(context.Context) error { return nil }

// count is how many events a call makes. Where they differ, it is by afterTag.
type count struct{ theirs, ours int }

// each is a call that makes as many events in both.
func each(n int) count { return count{n, n} }

// callAll calls each method on repositories of a new registry, and checks that each
// call makes as many events as it should.
func callAll(ctx context.Context, t *testing.T, r *record, of func(count) int, decorate decorator) {
	registry, err := storage.NewRegistry(ctx, inmemory.New(), storage.EnableDelete)
	require.NoError(t, err)
	open := func(name string) (reference.Named, distribution.Repository, distribution.RepositoryRemover) {
		named, err := reference.WithName(name)
		require.NoError(t, err)
		repo, err := registry.Repository(ctx, named)
		require.NoError(t, err)
		repo, remover := decorate(repo, registry.(distribution.RepositoryRemover))
		return named, repo, remover
	}
	app, repo, remover := open("library/app")
	_, fork, _ := open("library/fork")
	blobs := repo.Blobs(ctx)
	manifests, err := repo.Manifests(ctx)
	require.NoError(t, err)

	content := []byte("a blob")
	desc := distribution.Descriptor{MediaType: "text/plain", Digest: digest.FromBytes(content), Size: int64(len(content))}
	config := []byte("{}")
	configDesc := distribution.Descriptor{MediaType: imagespec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))}
	manifest, err := ocischema.FromStruct(ocischema.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagespec.MediaTypeImageManifest,
		Config:      configDesc,
		Layers:      []distribution.Descriptor{desc},
		Annotations: map[string]string{"org.example.kind": "image"},
	})
	require.NoError(t, err)
	_, payload, err := manifest.Payload()
	require.NoError(t, err)
	dgst := digest.FromBytes(payload)
	nowhere := digest.FromString("nowhere")

	for _, call := range []struct {
		name   string
		events count
		do     func() error
	}{
		{"Blobs.Put", each(1), func() error { _, err := blobs.Put(ctx, "text/plain", content); return err }},
		{"Blobs.Put again", each(1), func() error { _, err := blobs.Put(ctx, "text/plain", content); return err }},
		{"Blobs.Create, Resume and Commit", each(1), func() error { return upload(ctx, blobs, config, configDesc) }},
		{"Blobs.Create and Cancel", each(0), func() error {
			w, err := blobs.Create(ctx)
			if err != nil {
				return err
			}
			return w.Cancel(ctx)
		}},
		{"Blobs.Create by mounting", each(1), func() error {
			from, err := reference.WithDigest(app, desc.Digest)
			if err != nil {
				return err
			}
			_, err = fork.Blobs(ctx).Create(ctx, storage.WithMountFrom(from))
			return is[distribution.ErrBlobMounted](err)
		}},
		{"Blobs.Stat", each(0), func() error { _, err := blobs.Stat(ctx, desc.Digest); return err }},
		{"Blobs.Get", each(1), func() error { _, err := blobs.Get(ctx, desc.Digest); return err }},
		{"Blobs.Open", each(1), func() error {
			rc, err := blobs.Open(ctx, desc.Digest)
			if err != nil {
				return err
			}
			_ = rc.Close() // the storage's own reader says that it is closed
			return nil
		}},
		{"Blobs.ServeBlob", each(1), func() error {
			return blobs.ServeBlob(ctx, httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), desc.Digest)
		}},
		{"Blobs.Get of what is not there", each(0), func() error {
			_, err := blobs.Get(ctx, nowhere)
			return whichIs(err, distribution.ErrBlobUnknown)
		}},
		{"Manifests.Put", each(1), func() error { _, err := manifests.Put(ctx, manifest); return err }},
		{"Manifests.Put with a tag", count{1, 0}, func() error {
			_, err := manifests.Put(ctx, manifest, distribution.WithTag("v1"))
			return err
		}},
		{"Tags.Tag", count{0, 1}, func() error { return repo.Tags(ctx).Tag(ctx, "v1", distribution.Descriptor{Digest: dgst}) }},
		{"Manifests.Exists", each(0), func() error { _, err := manifests.Exists(ctx, dgst); return err }},
		{"Manifests.Get", each(1), func() error { _, err := manifests.Get(ctx, dgst); return err }},
		{"Manifests.Get with a tag", each(1), func() error {
			_, err := manifests.Get(ctx, dgst, distribution.WithTag("v1"))
			return err
		}},
		{"Manifests.Get of what is not there", each(0), func() error {
			_, err := manifests.Get(ctx, nowhere)
			return is[distribution.ErrManifestUnknownRevision](err)
		}},
		{"Tags.Untag", each(1), func() error { return repo.Tags(ctx).Untag(ctx, "v1") }},
		{"Manifests.Delete", each(1), func() error { return manifests.Delete(ctx, dgst) }},
		{"Blobs.Delete", each(1), func() error { return blobs.Delete(ctx, desc.Digest) }},
		{"RepositoryRemover.Remove", each(1), func() error { return remover.Remove(ctx, app) }},
		{"RepositoryRemover.Remove again", each(0), func() error {
			if err := remover.Remove(ctx, app); err == nil {
				return errors.New("was there")
			}
			return nil
		}},
	} {
		before := len(r.events)
		require.NoError(t, call.do(), call.name)
		require.Equal(t, of(call.events), len(r.events)-before, call.name)
	}
}

// upload uploads content in two pieces, of which the second resumes the upload.
func upload(ctx context.Context, blobs distribution.BlobStore, content []byte, desc distribution.Descriptor) error {
	w, err := blobs.Create(ctx)
	if err != nil {
		return err
	}
	if _, err := w.Write(content[:1]); err != nil {
		return err
	}
	id := w.ID()
	if err := w.Close(); err != nil {
		return err
	}

	if w, err = blobs.Resume(ctx, id); err != nil {
		return err
	}
	if _, err := w.Write(content[1:]); err != nil {
		return err
	}
	_, err = w.Commit(ctx, desc)
	return err
}

// is returns nil if err is a T, as whichIs does if it is target.
func is[T error](err error) error {
	if e := *new(T); errors.As(err, &e) {
		return nil
	}
	return fmt.Errorf("%w, which is no %T", err, *new(T))
}

func whichIs(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return fmt.Errorf("%w, which is not %w", err, target)
}
