package scenario

import (
	"context"
	"fmt"
	"io"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Image is the life of an image: it is pushed, pulled, mounted, made part of an
// index, looked at and deleted.
func (s *Scenario) Image() []Step {
	const app, copied, multi = "library/app", "library/copy", "library/multi"
	return []Step{
		{
			Name: "push an image of two layers by tag",
			Do: func(ctx context.Context) error {
				return remote.Write(s.tag(app+":v1"), s.app, s.options(ctx)...)
			},
			Want: events(
				times(3, Event{Action: "push", Type: "blob", Repository: app}),
				times(1, Event{Action: "push", Type: "manifest", Repository: app, Tag: "v1"}),
			),
		},
		{
			Name: "pull it",
			Do: func(ctx context.Context) error {
				img, err := remote.Image(s.tag(app+":v1"), s.options(ctx)...)
				if err != nil {
					return err
				}
				return read(img)
			},
			Want: events(
				times(1, Event{Action: "pull", Type: "manifest", Repository: app, Tag: "v1"}),
				times(3, Event{Action: "pull", Type: "blob", Repository: app}),
			),
		},
		{
			Name: "mount its layers into a second repository",
			Do: func(ctx context.Context) error {
				img, err := remote.Image(s.tag(app+":v1"), s.options(ctx)...)
				if err != nil {
					return err
				}
				return remote.Write(s.tag(copied+":v1"), img, s.options(ctx)...)
			},
			Want: events(
				times(1, Event{Action: "pull", Type: "manifest", Repository: app, Tag: "v1"}),
				times(3, Event{Action: "mount", Type: "blob", Repository: copied, From: app}),
				times(1, Event{Action: "push", Type: "manifest", Repository: copied, Tag: "v1"}),
			),
		},
		{
			Name: "push an index of two images",
			Do: func(ctx context.Context) error {
				return remote.WriteIndex(s.tag(multi+":latest"), s.index, s.options(ctx)...)
			},
			Want: events(
				times(4, Event{Action: "push", Type: "blob", Repository: multi}),
				times(2, Event{Action: "push", Type: "manifest", Repository: multi}),
				times(1, Event{Action: "push", Type: "manifest", Repository: multi, Tag: "latest"}),
			),
		},
		{
			// Who only looks pulls nothing.
			Name: "HEAD a manifest and a blob",
			Do: func(ctx context.Context) error {
				if _, err := remote.Head(s.tag(app+":v1"), s.options(ctx)...); err != nil {
					return err
				}
				return s.onFirstLayer(ctx, http.MethodHead, app, http.StatusOK)
			},
		},
		{
			Name: "delete a tag",
			Do: func(ctx context.Context) error {
				return remote.Delete(s.tag(multi+":latest"), s.options(ctx)...)
			},
			Want: times(1, Event{Action: "delete", Type: "tag", Repository: multi, Tag: "latest"}),
		},
		{
			Name: "delete a manifest, and with it the tag",
			Do: func(ctx context.Context) error {
				dgst, err := s.app.Digest()
				if err != nil {
					return err
				}
				return remote.Delete(s.digest(app, dgst.String()), s.options(ctx)...)
			},
			Want: events(
				times(1, Event{Action: "delete", Type: "manifest", Repository: app}),
				times(1, Event{Action: "delete", Type: "tag", Repository: app, Tag: "v1"}),
			),
		},
		{
			Name: "delete a blob",
			Do: func(ctx context.Context) error {
				return s.onFirstLayer(ctx, http.MethodDelete, app, http.StatusAccepted)
			},
			Want: times(1, Event{Action: "delete", Type: "blob", Repository: app}),
		},
	}
}

// read reads all of an image.
func read(img v1.Image) error {
	if _, err := img.RawConfigFile(); err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		rc, err := layer.Compressed()
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, rc)
		rc.Close()
		if err != nil {
			return fmt.Errorf("reading a layer: %w", err)
		}
	}
	return nil
}

// onFirstLayer sends a request about the image's first layer.
func (s *Scenario) onFirstLayer(ctx context.Context, method, repository string, want int) error {
	layers, err := s.app.Layers()
	if err != nil {
		return err
	}
	dgst, err := layers[0].Digest()
	if err != nil {
		return err
	}
	_, err = s.send(ctx, request{method: method, path: "/v2/" + repository + "/blobs/" + dgst.String(), want: want})
	return err
}
