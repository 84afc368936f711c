package main

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/observer"
)

// mirror is the Processor: it keeps the repositories of one registry, the target, in step
// with those of another, the source.
//
// An event only says where to look. What is to be done, the source says, each time as it
// is by then. So it does no harm that a call comes twice, or late, and the last one leads to
// what is true.
type mirror struct {
	source, target name.Registry
	transport      http.RoundTripper
	puller         *remote.Puller // looks at both
	copied         *ledger        // what the target may have
}

func newMirror(source, target name.Registry, transport http.RoundTripper, copied *ledger) (*mirror, error) {
	puller, err := remote.NewPuller(options(context.Background(), transport)...)
	if err != nil {
		return nil, err
	}
	return &mirror{source, target, transport, puller, copied}, nil
}

var _ observer.Processor = (*mirror)(nil)

// actionCheck is an action of this program's own: look at all of a repository.
const actionCheck = "check"

// Event is called for each event while the observer watches.
func (m *mirror) Event(ctx context.Context, s *observer.State, rec notifications.Record) error {
	e := rec.Event
	switch t := e.Target; {
	case e.Action == actionCheck:
		return m.all(ctx, s)
	case t.Type == notifications.TypeBlob:
		return nil // it comes with its manifest, and goes when the target collects garbage
	case e.Action == notifications.ActionPush, e.Action == notifications.ActionDelete:
		return m.follow(ctx, s.Name, t.Digest.String(), t.Tag)
	}
	return nil
}

// Enable is called for a repository that is new, and for one to which something happened
// while nobody watched.
func (m *mirror) Enable(ctx context.Context, s *observer.State) error { return m.all(ctx, s) }

// Disable is called for a repository that is gone. The source then has nothing of it.
func (m *mirror) Disable(ctx context.Context, s *observer.State) error { return m.all(ctx, s) }

// Freeze and Unfreeze are for servers that have these actions.
func (m *mirror) Freeze(ctx context.Context, s *observer.State) error   { return m.all(ctx, s) }
func (m *mirror) Unfreeze(ctx context.Context, s *observer.State) error { return m.all(ctx, s) }

// all follows everything that the source may have of a repository, or the target.
func (m *mirror) all(ctx context.Context, s *observer.State) error {
	var references []string
	for dgst := range s.Manifests {
		references = append(references, dgst.String())
	}
	references = append(references, m.copied.list(s.Name)...)
	for _, r := range []name.Registry{m.source, m.target} {
		tags, err := m.puller.List(ctx, r.Repo(s.Name))
		if err != nil && !isGone(err) {
			return err
		}
		references = append(references, tags...) // behind the manifests
	}
	return m.follow(ctx, s.Name, references...)
}

// follow makes the target have of each reference, a digest or a tag, what the source has:
// that manifest with all that it refers to, or nothing.
func (m *mirror) follow(ctx context.Context, repository string, references ...string) error {
	seen := map[string]bool{"": true} // no tag is none
	for _, ref := range references {
		if seen[ref] {
			continue
		}
		seen[ref] = true
		to := refer(m.target, repository, ref)
		want, err := m.puller.Head(ctx, refer(m.source, repository, ref))
		switch {
		case isGone(err):
			err = m.drop(ctx, repository, to)
		case err == nil:
			err = m.copy(ctx, repository, to, want.Digest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copy copies a manifest, and what it refers to. What the target has already, is left.
func (m *mirror) copy(ctx context.Context, repository string, to name.Reference, want v1.Hash) error {
	if err := m.copied.add(ctx, repository, want.String()); err != nil {
		return err
	}
	if has, err := m.puller.Head(ctx, to); err == nil && has.Digest == want {
		return nil // and it has been complete when it was taken
	}
	manifest, err := m.puller.Get(ctx, refer(m.source, repository, want.String())) // a tag may move
	if err != nil {
		return err
	}
	if manifest.MediaType.IsIndex() {
		parts, err := partsOf(manifest)
		if err != nil {
			return err
		}
		for _, part := range parts {
			if err := m.follow(ctx, repository, part.Digest.String()); err != nil {
				return err
			}
		}
	}
	return remote.Push(to, manifest, options(ctx, m.transport)...)
}

// drop deletes a manifest or a tag.
func (m *mirror) drop(ctx context.Context, repository string, to name.Reference) error {
	if err := remote.Delete(to, options(ctx, m.transport)...); err != nil && !isGone(err) {
		return err
	}
	return m.copied.remove(ctx, repository, to.Identifier())
}

// refer returns a reference to a digest or a tag.
func refer(r name.Registry, repository, reference string) name.Reference {
	if strings.Contains(reference, ":") {
		return r.Repo(repository).Digest(reference)
	}
	return r.Repo(repository).Tag(reference)
}

// isGone says whether a registry has answered that there is no such thing. Nothing else is a
// reason to delete.
func isGone(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}

// options are those of a client that does not try again by itself: the observer does.
func options(ctx context.Context, transport http.RoundTripper) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(transport),
		remote.WithRetryPredicate(func(error) bool { return false }),
	}
}
