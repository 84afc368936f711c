package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/registry-notifications/notifications/examples/internal/invitation"
)

var errTooLong = errors.New("was not done after a minute")

// demonstrate returns what has a real client do something to a registry, step by step.
// It is an error if an event does not come.
func demonstrate(out *screen) func(ctx context.Context, host string) error {
	return func(ctx context.Context, host string) error {
		ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errTooLong)
		defer cancel()
		transport := new(http.Transport)
		defer transport.CloseIdleConnections()
		options := []crane.Option{crane.WithContext(ctx), crane.WithTransport(transport), crane.Insecure}

		image, err := newImage()
		if err != nil {
			return err
		}
		dgst, err := image.Digest()
		if err != nil {
			return err
		}
		app := host + "/library/app"
		out.print("A registry at " + host + ", and what happens in it:")
		total := 0
		for _, step := range []struct {
			name   string
			do     func() error
			events int
		}{
			{"crane push", func() error { return crane.Push(image, app+":v1", options...) }, 4},
			{"crane pull", func() error { return pull(app+":v1", options...) }, 4},
			{"crane tag", func() error { return crane.Tag(app+":v1", "latest", options...) }, 2},
			{"crane delete of a tag", func() error { return crane.Delete(app+":latest", options...) }, 1},
			{"crane delete of a manifest", func() error { return crane.Delete(app+"@"+dgst.String(), options...) }, 1},
		} {
			out.print("", step.name)
			if err := step.do(); err != nil {
				return fmt.Errorf("%s: %w", step.name, err)
			}
			total += step.events
			if err := out.wait(ctx, total); err != nil {
				return fmt.Errorf("%s: %w", step.name, err)
			}
		}
		out.print("", fmt.Sprintf("All %d events have come.", total))
		return nil
	}
}

// newImage returns an image of two layers.
func newImage() (v1.Image, error) {
	image, err := crane.Image(map[string][]byte{"etc/greeting": []byte("hello")})
	if err != nil {
		return nil, err
	}
	layer, err := crane.Layer(map[string][]byte{"etc/farewell": []byte("goodbye")})
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(image, layer)
}

// pull pulls an image with all its layers. crane pull alone gets a layer when somebody
// reads it.
func pull(ref string, options ...crane.Option) error {
	image, err := crane.Pull(ref, options...)
	if err != nil {
		return err
	}
	if _, err := image.RawConfigFile(); err != nil {
		return err
	}
	return crane.Export(image, io.Discard)
}

// waitForYou returns what only says where the registry is, until ctx ends.
func waitForYou(out *screen) func(ctx context.Context, host string) error {
	return func(ctx context.Context, host string) error {
		out.print(invitation.Lines(host)...)
		<-ctx.Done()
		return nil
	}
}
