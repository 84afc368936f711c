package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// pause is between two images of a client. It leaves some of a small machine to the servers.
const pause = 100 * time.Millisecond

// client pushes images into one repository, one after the other, each through another
// registry, and pulls some of them from a third.
type client struct {
	repository string
	registries []*registry
	transport  *http.Transport
	at         int // which of the registries it was at last

	pushed []string // tags, in order
	pulls  int
}

// work goes on until stop is closed, and finishes what it has begun.
func (c *client) work(ctx context.Context, stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		if err := wait(ctx, pause); err != nil {
			return err
		}
		tag := fmt.Sprintf("v%d", len(c.pushed)+1)
		if err := c.visit(ctx, func(r *registry) error { return c.push(ctx, r, tag) }); err != nil {
			return fmt.Errorf("pushing %s:%s: %w", c.repository, tag, err)
		}
		c.pushed = append(c.pushed, tag)
		if len(c.pushed)%3 > 0 {
			continue
		}
		if err := c.visit(ctx, func(r *registry) error { return c.pull(ctx, r, tag) }); err != nil {
			return fmt.Errorf("pulling %s:%s: %w", c.repository, tag, err)
		}
		c.pulls++
	}
}

// visit does something at the next registry that takes clients. What one keeps until the cluster
// takes it would come behind what the next one sends; so a client stays with it as long as it
// has something, as a load balancer with sticky sessions would have it.
func (c *client) visit(ctx context.Context, do func(*registry) error) error {
	for r := c.registries[c.at]; r.spilled() > 0; {
		if leave := r.visit(); leave != nil {
			defer leave()
			return do(r)
		}
		if err := wait(ctx, pause); err != nil { // it ends, and gives away what it has before that
			return err
		}
	}
	for range c.registries {
		c.at = (c.at + 1) % len(c.registries)
		r := c.registries[c.at]
		if leave := r.visit(); leave != nil {
			defer leave()
			return do(r)
		}
	}
	return fmt.Errorf("none of %d registries takes clients", len(c.registries))
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *client) push(ctx context.Context, r *registry, tag string) error {
	ref, err := c.tag(r, tag)
	if err != nil {
		return err
	}
	image, err := random.Image(1<<10, 1)
	if err != nil {
		return err
	}
	return remote.Write(ref, image, c.options(ctx)...)
}

func (c *client) pull(ctx context.Context, r *registry, tag string) error {
	ref, err := c.tag(r, tag)
	if err != nil {
		return err
	}
	image, err := remote.Image(ref, c.options(ctx)...)
	if err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		content, err := layer.Compressed()
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, content)
		content.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *client) tag(r *registry, tag string) (name.Tag, error) {
	return name.NewTag(r.host+"/"+c.repository+":"+tag, name.Insecure)
}

// options are those of a client that does one thing after the other.
func (c *client) options(ctx context.Context) []remote.Option {
	return []remote.Option{remote.WithContext(ctx), remote.WithTransport(c.transport), remote.WithJobs(1)}
}
