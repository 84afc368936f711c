package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	repositorymiddleware "github.com/distribution/distribution/v3/registry/middleware/repository"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"

	"github.com/registry-notifications/notifications"
)

// listen is a middleware of the server's that tells a listener what clients do with a
// repository. (A server that is configured in YAML alone needs none of this: see the
// package middleware.)
const listen = "listen"

func init() {
	err := repositorymiddleware.Register(listen, func(_ context.Context, repo distribution.Repository, options map[string]any) (distribution.Repository, error) {
		repo, _ = notifications.Listen(repo, nil, options["to"].(notifications.Listener))
		return repo, nil
	})
	if err != nil {
		panic(err) // two of one name: the program was put together wrong
	}
}

// registry is a stock distribution server, which keeps its content in memory.
type registry struct {
	host     string
	instance string // what its events call this run
	app      *handlers.App
	server   *http.Server
	cancel   context.CancelFunc
}

// startRegistry serves a registry on addr that writes its events to a hub.
func startRegistry(addr string, h hub) (*registry, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	host := listener.Addr().String()
	source, err := notifications.NewSource(host)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	bridge, err := notifications.NewBridge(h, notifications.BridgeConfig{Source: source, IncludeReferences: true})
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}

	config := &configuration.Configuration{
		Storage: configuration.Storage{
			"inmemory":    configuration.Parameters{},
			"delete":      configuration.Parameters{"enabled": true},
			"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
		},
		Middleware: map[string][]configuration.Middleware{"repository": {{
			Name: listen, Options: configuration.Parameters{"to": bridge},
		}}},
	}
	config.HTTP.Secret = "is of use to several registries that share their storage"

	ctx, cancel := context.WithCancel(context.Background())
	app := handlers.NewApp(ctx, config)
	r := &registry{
		host: host, instance: source.InstanceID, app: app, cancel: cancel,
		server: &http.Server{Handler: app, ReadHeaderTimeout: 10 * time.Second},
	}
	go r.server.Serve(listener)
	return r, nil
}

// close ends the registry when the requests under way are through.
func (r *registry) close(ctx context.Context) error {
	defer r.cancel()
	return errors.Join(r.server.Shutdown(ctx), r.app.Shutdown())
}
