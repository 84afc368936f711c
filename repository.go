package notifications

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

type repository struct {
	distribution.Repository
	ear ear
}

func (r *repository) Unwrap() distribution.Repository { return r.Repository }

func (r *repository) Manifests(ctx context.Context, options ...distribution.ManifestServiceOption) (distribution.ManifestService, error) {
	inner, err := r.Repository.Manifests(ctx, options...)
	if inner == nil {
		return nil, err
	}
	ms := &manifestService{ManifestService: inner, ear: &r.ear}
	if e, ok := inner.(distribution.ManifestEnumerator); ok {
		return struct {
			*manifestService
			distribution.ManifestEnumerator
		}{ms, e}, err
	}
	return ms, err
}

func (r *repository) Blobs(ctx context.Context) distribution.BlobStore {
	inner := r.Repository.Blobs(ctx)
	if inner == nil {
		return nil
	}
	bs := &blobStore{BlobStore: inner, ear: &r.ear}
	if e, ok := inner.(distribution.BlobEnumerator); ok {
		return struct {
			*blobStore
			distribution.BlobEnumerator
		}{bs, e}
	}
	return bs
}

func (r *repository) Tags(ctx context.Context) distribution.TagService {
	inner := r.Repository.Tags(ctx)
	if inner == nil {
		return nil
	}
	ts := &tagService{TagService: inner, ear: &r.ear}
	if p, ok := inner.(distribution.TagManifestsProvider); ok {
		return struct {
			*tagService
			distribution.TagManifestsProvider
		}{ts, p}
	}
	return ts
}

type manifestService struct {
	distribution.ManifestService
	ear *ear
}

func (s *manifestService) Unwrap() distribution.ManifestService { return s.ManifestService }

func (s *manifestService) Get(ctx context.Context, dgst digest.Digest, options ...distribution.ManifestServiceOption) (distribution.Manifest, error) {
	m, err := s.ManifestService.Get(ctx, dgst, options...)
	if err == nil {
		s.ear.tell(ctx, func() error {
			return s.ear.listener.ManifestPulled(ctx, s.ear.name, dgst, m, tagOf(options))
		})
	}
	return m, err
}

func (s *manifestService) Put(ctx context.Context, m distribution.Manifest, options ...distribution.ManifestServiceOption) (digest.Digest, error) {
	dgst, err := s.ManifestService.Put(ctx, m, options...)
	if err == nil {
		s.ear.pushed(push{ctx, dgst, m, tagOf(options)})
	}
	return dgst, err
}

func (s *manifestService) Delete(ctx context.Context, dgst digest.Digest) error {
	err := s.ManifestService.Delete(ctx, dgst)
	if err == nil {
		s.ear.tell(ctx, func() error { return s.ear.listener.ManifestDeleted(ctx, s.ear.name, dgst) })
	}
	return err
}

// tagOf returns the tag that a caller named. The last one counts, as it does for
// options everywhere.
func tagOf(options []distribution.ManifestServiceOption) (tag string) {
	for _, option := range options {
		if o, ok := option.(distribution.WithTagOption); ok {
			tag = o.Tag
		}
	}
	return tag
}

type blobStore struct {
	distribution.BlobStore
	ear *ear

	mu      sync.Mutex // guards the rest
	asked   digest.Digest
	statted distribution.Descriptor
}

func (s *blobStore) Unwrap() distribution.BlobStore { return s.BlobStore }

// Stat remembers what it returned: a server asks right before it serves the blob,
// and the event needs the same again.
func (s *blobStore) Stat(ctx context.Context, dgst digest.Digest) (distribution.Descriptor, error) {
	desc, err := s.BlobStore.Stat(ctx, dgst)
	if err == nil {
		s.mu.Lock()
		s.asked, s.statted = dgst, desc
		s.mu.Unlock()
	}
	return desc, err
}

// describeTimeout is how long a client may be made to wait for a descriptor.
const describeTimeout = time.Second

// describe returns the descriptor of a blob that was just served. Without one the
// event still says which blob it was.
func (s *blobStore) describe(ctx context.Context, dgst digest.Digest) distribution.Descriptor {
	s.mu.Lock()
	asked, desc := s.asked, s.statted
	s.mu.Unlock()
	if asked == dgst {
		return desc
	}
	// The client may have left with its blob, and its context with it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), describeTimeout)
	defer cancel()
	desc, err := s.BlobStore.Stat(ctx, dgst)
	if err != nil {
		return distribution.Descriptor{Digest: dgst}
	}
	return desc
}

func (s *blobStore) pulled(ctx context.Context, dgst digest.Digest) {
	s.ear.tell(ctx, func() error {
		return s.ear.listener.BlobPulled(ctx, s.ear.name, s.describe(ctx, dgst))
	})
}

func (s *blobStore) Get(ctx context.Context, dgst digest.Digest) ([]byte, error) {
	p, err := s.BlobStore.Get(ctx, dgst)
	if err == nil {
		s.pulled(ctx, dgst)
	}
	return p, err
}

func (s *blobStore) Open(ctx context.Context, dgst digest.Digest) (io.ReadSeekCloser, error) {
	rc, err := s.BlobStore.Open(ctx, dgst)
	if err == nil {
		s.pulled(ctx, dgst)
	}
	return rc, err
}

func (s *blobStore) ServeBlob(ctx context.Context, w http.ResponseWriter, r *http.Request, dgst digest.Digest) error {
	err := s.BlobStore.ServeBlob(ctx, w, r, dgst)
	if err == nil {
		s.pulled(ctx, dgst)
	}
	return err
}

func (s *blobStore) Put(ctx context.Context, mediaType string, p []byte) (distribution.Descriptor, error) {
	desc, err := s.BlobStore.Put(ctx, mediaType, p)
	if err == nil {
		s.ear.tell(ctx, func() error { return s.ear.listener.BlobPushed(ctx, s.ear.name, desc) })
	}
	return desc, err
}

// Create starts an upload, unless a mount makes it unnecessary: that comes back as
// an error, and is none.
func (s *blobStore) Create(ctx context.Context, options ...distribution.BlobCreateOption) (distribution.BlobWriter, error) {
	w, err := s.BlobStore.Create(ctx, options...)
	if mounted := (distribution.ErrBlobMounted{}); errors.As(err, &mounted) {
		s.ear.tell(ctx, func() error {
			return s.ear.listener.BlobMounted(ctx, s.ear.name, mounted.Descriptor, mounted.From)
		})
	}
	return s.writer(w), err
}

func (s *blobStore) Resume(ctx context.Context, id string) (distribution.BlobWriter, error) {
	w, err := s.BlobStore.Resume(ctx, id)
	return s.writer(w), err
}

func (s *blobStore) writer(w distribution.BlobWriter) distribution.BlobWriter {
	if w == nil {
		return nil
	}
	return &blobWriter{BlobWriter: w, ear: s.ear}
}

func (s *blobStore) Delete(ctx context.Context, dgst digest.Digest) error {
	err := s.BlobStore.Delete(ctx, dgst)
	if err == nil {
		s.ear.tell(ctx, func() error { return s.ear.listener.BlobDeleted(ctx, s.ear.name, dgst) })
	}
	return err
}

type blobWriter struct {
	distribution.BlobWriter
	ear *ear
}

func (w *blobWriter) Unwrap() distribution.BlobWriter { return w.BlobWriter }

func (w *blobWriter) Commit(ctx context.Context, provisional distribution.Descriptor) (distribution.Descriptor, error) {
	desc, err := w.BlobWriter.Commit(ctx, provisional)
	if err == nil {
		w.ear.tell(ctx, func() error { return w.ear.listener.BlobPushed(ctx, w.ear.name, desc) })
	}
	return desc, err
}

type tagService struct {
	distribution.TagService
	ear *ear
}

func (s *tagService) Unwrap() distribution.TagService { return s.TagService }

func (s *tagService) Tag(ctx context.Context, tag string, desc distribution.Descriptor) error {
	told := s.ear.tagging(tag, desc.Digest)
	defer told(false) // where it panics
	err := s.TagService.Tag(ctx, tag, desc)
	told(err == nil)
	return err
}

func (s *tagService) Untag(ctx context.Context, tag string) error {
	err := s.TagService.Untag(ctx, tag)
	if err == nil {
		s.ear.tell(ctx, func() error { return s.ear.listener.TagDeleted(ctx, s.ear.name, tag) })
	}
	return err
}

type repositoryRemover struct {
	distribution.RepositoryRemover
	listener Listener
}

func (r *repositoryRemover) Unwrap() distribution.RepositoryRemover { return r.RepositoryRemover }

func (r *repositoryRemover) Remove(ctx context.Context, name reference.Named) error {
	err := r.RepositoryRemover.Remove(ctx, name)
	if err == nil {
		tell(ctx, r.listener, name, func() error { return r.listener.RepositoryDeleted(ctx, name) })
	}
	return err
}
