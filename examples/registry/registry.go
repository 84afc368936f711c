package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"

	_ "github.com/registry-notifications/notifications/middleware"
)

// registry is a stock distribution server, which keeps its content in memory.
type registry struct {
	host   string
	app    *handlers.App
	server *http.Server
	cancel context.CancelFunc
}

// startRegistry serves a registry on addr, with a middleware that tells both
// webhooks.
func startRegistry(addr string, healthy, recovering *webhook) (*registry, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	host := listener.Addr().String()

	config := &configuration.Configuration{
		Storage: configuration.Storage{
			"inmemory":    configuration.Parameters{},
			"delete":      configuration.Parameters{"enabled": true},
			"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
		},
		// What stands in the YAML of a real one.
		Middleware: map[string][]configuration.Middleware{"registry": {{
			Name: "notifications",
			Options: configuration.Parameters{
				"addr":   host,
				"events": map[any]any{"includereferences": true},
				"endpoints": []any{
					map[any]any{"name": healthy.name, "url": healthy.url},
					map[any]any{"name": recovering.name, "url": recovering.url, "backoff": "100ms", "maxbackoff": "400ms"},
				},
			},
		}}},
	}
	config.HTTP.Secret = "is of use to several registries that share their storage"

	ctx, cancel := context.WithCancel(context.Background())
	app := handlers.NewApp(ctx, config)
	r := &registry{
		host: host, app: app, cancel: cancel,
		server: &http.Server{Handler: app, ReadHeaderTimeout: 10 * time.Second},
	}
	go r.server.Serve(listener)
	return r, nil
}

// close ends the registry as a server should: first come the requests under way,
// then the events that they made.
func (r *registry) close(ctx context.Context) error {
	defer r.cancel()
	return errors.Join(r.server.Shutdown(ctx), r.app.Shutdown())
}
