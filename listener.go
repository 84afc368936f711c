package notifications

import (
	"context"
	"errors"
	"fmt"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
)

// ManifestListener is told of manifests. The manifest is the one that was stored or
// served; tag is empty if the client named none.
type ManifestListener interface {
	ManifestPushed(ctx context.Context, repo reference.Named, dgst digest.Digest, m distribution.Manifest, tag string) error
	ManifestPulled(ctx context.Context, repo reference.Named, dgst digest.Digest, m distribution.Manifest, tag string) error
	ManifestDeleted(ctx context.Context, repo reference.Named, dgst digest.Digest) error
}

// BlobListener is told of blobs.
type BlobListener interface {
	BlobPushed(ctx context.Context, repo reference.Named, desc distribution.Descriptor) error
	BlobPulled(ctx context.Context, repo reference.Named, desc distribution.Descriptor) error
	BlobMounted(ctx context.Context, repo reference.Named, desc distribution.Descriptor, from reference.Named) error
	BlobDeleted(ctx context.Context, repo reference.Named, dgst digest.Digest) error
}

// RepositoryListener is told of tags and whole repositories. Distribution has no
// rename; a server that has one calls RepositoryRenamed itself.
type RepositoryListener interface {
	TagDeleted(ctx context.Context, repo reference.Named, tag string) error
	RepositoryDeleted(ctx context.Context, repo reference.Named) error
	RepositoryRenamed(ctx context.Context, from, to reference.Named) error
}

// Listener is told what has happened, after it has, with the context of the call
// that made it happen. Its methods are called from many goroutines at once, and the
// client waits for them. An error means that the listener's own work failed: it is
// logged, and changes nothing for the client.
type Listener interface {
	ManifestListener
	BlobListener
	RepositoryListener
}

// Listen decorates a repository so that the listener is told of every push, pull,
// mount and delete that succeeds, and a remover so that it is told of removed
// repositories. Results and errors pass through unchanged; a listener that fails or
// panics does the caller no harm.
//
// A manifest that is put with a tag is told of when Tag returns for it on the same
// Repository, so that whoever hears of it finds it under its tag; without the tag, if that
// fails, or if the request ends first. A context that cannot end is not waited for.
//
// What the decorated values are asked for by type assertion, they still have if the
// wrapped ones had it: distribution.ManifestEnumerator, BlobEnumerator and
// TagManifestsProvider. For the rest each has Unwrap. A nil remover stays nil, and
// without a listener both come back as they are.
func Listen(repo distribution.Repository, remover distribution.RepositoryRemover, listener Listener) (distribution.Repository, distribution.RepositoryRemover) {
	if listener == nil || listener == (*Bridge)(nil) {
		return repo, remover
	}
	if repo != nil {
		repo = &repository{Repository: repo, ear: ear{name: repo.Named(), listener: listener}}
	}
	if remover != nil {
		remover = &repositoryRemover{RepositoryRemover: remover, listener: listener}
	}
	return repo, remover
}

// ear is a listener for one repository.
type ear struct {
	name     reference.Named
	listener Listener
	untagged untagged
}

// tell calls the listener, and keeps what goes wrong there from whoever asked the
// registry for something.
func (e *ear) tell(ctx context.Context, call func() error) { tell(ctx, e.listener, e.name, call) }

func tell(ctx context.Context, l Listener, repo reference.Named, call func() error) {
	defer func() {
		if p := recover(); p != nil {
			report(ctx, l, repo, fmt.Errorf("notifications: listener panicked: %v", p))
		}
	}()
	if err := call(); err != nil {
		report(ctx, l, repo, err)
	}
}

// report logs what nobody else will hear of: the caller gets the registry's result
// and not ours.
func report(ctx context.Context, l Listener, repo interface{ Name() string }, err error) {
	defer func() { _ = recover() }() // a name or a logger of others' that panics, too
	var fallback *logrus.Entry
	if b, ok := l.(*Bridge); ok {
		fallback = b.config.Logger
	}
	log := loggerFrom(ctx, fallback).WithField("repository", repo.Name())
	if _, r := requestFrom(ctx); r != nil {
		log = log.WithFields(logrus.Fields{
			"http.request.method":     r.Method,
			"http.request.host":       r.Host,
			"http.request.remoteaddr": r.RemoteAddr,
			"http.request.useragent":  r.UserAgent(),
		})
	}
	if lost := (*RejectedError)(nil); errors.As(err, &lost) {
		log = log.WithFields(logrus.Fields{"event.id": lost.Event.ID, "action": lost.Event.Action})
	}
	log.WithError(err).Error("notifications: listener failed")
}
