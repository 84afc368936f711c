package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// client pushes to a registry and deletes from it. What gets no answer, it does again.
type client struct {
	registry  name.Registry
	transport *http.Transport

	pushed                      map[string]map[string]bool // manifests, by repository
	pushes, deletes, unanswered int
}

func newClient(host string) (*client, error) {
	registry, err := name.NewRegistry(host, name.Insecure)
	if err != nil {
		return nil, err
	}
	return &client{registry: registry, transport: new(http.Transport), pushed: make(map[string]map[string]bool)}, nil
}

// work does the same each time, with other content.
func (c *client) work(ctx context.Context, number int) error {
	r := &round{client: c, ctx: ctx}
	v := fmt.Sprintf("v%d", number)
	for _, repository := range []string{"library/app", "library/db", "team/web", "team/tools/lint"} {
		first, second := r.image(), r.image()
		r.push(repository, v+".0", first)
		r.push(repository, "latest", first)
		r.push(repository, v+".1", second)
		r.push(repository, "latest", second) // moves it
		switch repository {
		case "library/app":
			r.deleteTag(repository, v+".0")
		case "team/web":
			r.deleteManifest(repository, second) // and with it two tags
		}
	}
	multi := r.index()
	r.push("library/multi", v, multi)
	if number%2 == 1 {
		r.deleteManifest("library/multi", multi) // its parts stay
	}
	short := r.image()
	r.push("team/short-lived", v, short)
	r.deleteManifest("team/short-lived", short) // and nothing is left there
	return r.err
}

// round is what a client does, up to the first error.
type round struct {
	*client
	ctx context.Context
	err error
}

// manifest is an image or an index.
type manifest interface {
	remote.Taggable
	Digest() (v1.Hash, error)
}

func (r *round) image() (image v1.Image) {
	if r.err == nil {
		image, r.err = random.Image(1<<10, 2)
	}
	return image
}

func (r *round) index() (index v1.ImageIndex) {
	if r.err == nil {
		index, r.err = random.Index(1<<10, 2, 3)
	}
	return index
}

func (r *round) push(repository, tag string, m manifest) {
	r.notePushed(repository, m)
	r.do(&r.pushes, func() error {
		return remote.Push(r.registry.Repo(repository).Tag(tag), m, options(r.ctx, r.transport)...)
	})
}

// notePushed notes a manifest, and those that it has.
func (r *round) notePushed(repository string, m manifest) {
	if r.err != nil {
		return
	}
	if r.pushed[repository] == nil {
		r.pushed[repository] = make(map[string]bool)
	}
	r.pushed[repository][r.digest(m)] = true
	index, ok := m.(v1.ImageIndex)
	if !ok {
		return
	}
	parts, err := index.IndexManifest()
	if err != nil {
		r.err = err
		return
	}
	for _, part := range parts.Manifests {
		r.pushed[repository][part.Digest.String()] = true
	}
}

func (r *round) deleteTag(repository, tag string) {
	r.delete(func() name.Reference { return r.registry.Repo(repository).Tag(tag) })
}

func (r *round) deleteManifest(repository string, m manifest) {
	r.delete(func() name.Reference { return r.registry.Repo(repository).Digest(r.digest(m)) })
}

func (r *round) delete(what func() name.Reference) {
	r.do(&r.deletes, func() error {
		err := remote.Delete(what(), options(r.ctx, r.transport)...)
		if isGone(err) {
			return nil // it was done, but the answer was lost
		}
		return err
	})
}

func (r *round) digest(m manifest) string {
	dgst, err := m.Digest()
	if err != nil {
		r.err = err
	}
	return dgst.String()
}

// do does something until it succeeds: the registry may be away for a while.
func (r *round) do(count *int, something func() error) {
	for r.err == nil {
		err := something()
		if err == nil {
			*count++
			return
		}
		r.unanswered++
		select {
		case <-time.After(100 * time.Millisecond):
		case <-r.ctx.Done():
			r.err = fmt.Errorf("%w: %w", context.Cause(r.ctx), err)
		}
	}
}
