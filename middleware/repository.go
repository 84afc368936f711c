package middleware

import (
	"context"
	"errors"
	"sync"

	"github.com/distribution/distribution/v3"
	repositorymiddleware "github.com/distribution/distribution/v3/registry/middleware/repository"

	"github.com/registry-notifications/notifications"
)

func init() {
	if err := repositorymiddleware.Register(name, newRepository); err != nil {
		panic(err)
	}
}

var (
	errNoPipeline = errors.New("middleware.repository.notifications: is for a pull-through cache, and needs middleware.registry.notifications with pullthrough: true beside it")
	errHasOptions = errors.New("middleware.repository.notifications: has options: allowed are none: they belong to middleware.registry.notifications")
	errTwice      = errors.New(root + ".pullthrough: true: is there twice for one application: allowed is once")
)

// newRepository is called for each request, with the application for its context.
// So what serves all requests has to be found again.
func newRepository(app context.Context, repo distribution.Repository, values map[string]any) (distribution.Repository, error) {
	if len(values) > 0 {
		return nil, errHasOptions
	}
	switch p := caches.get(app); {
	case p != nil:
		repo, _ = notifications.Listen(repo, nil, p.bridge)
	case app.Err() == nil:
		return nil, errNoPipeline
	}
	// What an application that has ended still serves, it serves unheard.
	return repo, nil
}

// caches are the pipelines of the applications that are pull-through caches. Both
// middlewares are given the application itself for their context, and a process may
// have several.
var caches = pipelines{of: make(map[context.Context]*pipeline)}

type pipelines struct {
	mu sync.Mutex // guards of
	of map[context.Context]*pipeline
}

// add keeps p for the application, and returns how to close it. The end of the
// application does so too: nobody else closes what stands behind a pull-through
// cache.
func (c *pipelines) add(app context.Context, p *pipeline) (closePipeline func() error, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[app] != nil {
		return nil, errTwice
	}
	c.of[app] = p

	stop := context.AfterFunc(app, func() {
		defer c.remove(app)
		if err := p.Close(); err != nil {
			p.log.WithError(err).Error("notifications: events lost at the end of the application")
		}
	})
	return func() error {
		defer c.remove(app)
		stop()
		return p.Close()
	}, nil
}

func (c *pipelines) get(app context.Context) *pipeline {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.of[app]
}

func (c *pipelines) remove(app context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.of, app)
}
