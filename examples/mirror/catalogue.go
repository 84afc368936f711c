package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// catalogue is what a registry has, as its clients see it: what is at each tag and digest,
// by repository.
type catalogue map[string]map[string]string

// readCatalogue asks a registry what it has. Manifests that have no tag no registry lists,
// so it is asked for those that were ever pushed.
func readCatalogue(ctx context.Context, registry name.Registry, pushed map[string]map[string]bool, transport http.RoundTripper) (catalogue, error) {
	opts := options(ctx, transport)
	repositories, err := remote.Catalog(ctx, registry, opts...)
	if err != nil {
		return nil, err
	}
	all := make(catalogue)
	for _, repository := range repositories {
		tags, err := remote.List(registry.Repo(repository), opts...)
		if err != nil && !isGone(err) {
			return nil, err
		}
		has := make(map[string]string)
		for _, ref := range append(tags, slices.Collect(maps.Keys(pushed[repository]))...) {
			manifest, err := remote.Head(refer(registry, repository, ref), opts...)
			switch {
			case err == nil:
				has[ref] = manifest.Digest.String()
			case !isGone(err):
				return nil, err
			}
		}
		if len(has) > 0 { // of one that had something once, the name may be left
			all[repository] = has
		}
	}
	return all, nil
}

// readContent pulls all that the tags of a catalogue lead to. It is an error if something is
// not there, or is not what its digest says.
func (c catalogue) readContent(ctx context.Context, registry name.Registry, transport http.RoundTripper) error {
	for repository, has := range c {
		for ref, dgst := range has {
			if ref == dgst {
				continue
			}
			if err := pull(refer(registry, repository, ref), options(ctx, transport)...); err != nil {
				return fmt.Errorf("%s:%s: %w", repository, ref, err)
			}
		}
	}
	return nil
}

// partsOf returns the manifests that an index has.
func partsOf(index *remote.Descriptor) ([]v1.Descriptor, error) {
	i, err := index.ImageIndex()
	if err != nil {
		return nil, err
	}
	parts, err := i.IndexManifest()
	if err != nil {
		return nil, err
	}
	return parts.Manifests, nil
}

func pull(ref name.Reference, opts ...remote.Option) error {
	manifest, err := remote.Get(ref, opts...)
	if err != nil {
		return err
	}
	if manifest.MediaType.IsIndex() {
		parts, err := partsOf(manifest)
		if err != nil {
			return err
		}
		for _, part := range parts {
			if err := pull(ref.Context().Digest(part.Digest.String()), opts...); err != nil {
				return err
			}
		}
		return nil
	}
	image, err := manifest.Image()
	if err != nil {
		return err
	}
	if _, err := image.RawConfigFile(); err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		content, err := layer.Compressed() // compares what comes with its digest
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, content)
		if err := errors.Join(err, content.Close()); err != nil {
			return err
		}
	}
	return nil
}

// count returns how many tags and manifests there are.
func (c catalogue) count() (tags, manifests int) {
	for _, has := range c {
		for ref, dgst := range has {
			if ref == dgst {
				manifests++
			} else {
				tags++
			}
		}
	}
	return tags, manifests
}

// differences says what two registries have not in common, a line for each.
func differences(source, target catalogue) (lines []string) {
	repositories := maps.Clone(source)
	maps.Copy(repositories, target)
	for _, repository := range slices.Sorted(maps.Keys(repositories)) {
		references := make(map[string]bool)
		for _, c := range []catalogue{source, target} {
			for ref := range c[repository] {
				references[ref] = true
			}
		}
		for _, ref := range slices.Sorted(maps.Keys(references)) {
			if s, t := source[repository][ref], target[repository][ref]; s != t {
				lines = append(lines, fmt.Sprintf("%s  %.19s: %s in the source, %s in the mirror", repository, ref, orNothing(s), orNothing(t)))
			}
		}
	}
	return lines
}

func orNothing(dgst string) string {
	if dgst == "" {
		return "nothing"
	}
	return fmt.Sprintf("%.19s", dgst) // the algorithm and twelve digits
}
