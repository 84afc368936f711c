package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	repositorymiddleware "github.com/distribution/distribution/v3/registry/middleware/repository"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"

	"github.com/registry-notifications/notifications"
)

// listen is a middleware of the server's that tells a listener what clients do with a
// repository.
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

// registry is one of several stock distribution servers that share their storage.
type registry struct {
	*instance
	host   string
	intake *intake
	bridge *notifications.Bridge
	server *http.Server
	app    *handlers.App
	cancel context.CancelFunc

	clients sync.RWMutex // clients that are served hold it for reading
	killed  bool
}

// startRegistry serves a registry that writes its events to an instance's hub.
func startRegistry(i *instance, dir string) (*registry, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &registry{instance: i, host: listener.Addr().String(), intake: &intake{Sink: i.hub}}
	source, err := notifications.NewSource(r.host)
	if err == nil {
		r.bridge, err = notifications.NewBridge(r.intake, notifications.BridgeConfig{Source: source})
	}
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}

	config := &configuration.Configuration{
		Storage: configuration.Storage{
			"filesystem":  configuration.Parameters{"rootdirectory": dir},
			"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
		},
		Middleware: map[string][]configuration.Middleware{"repository": {{
			Name: listen, Options: configuration.Parameters{"to": r.bridge},
		}}},
	}
	config.HTTP.Secret = "all that share their storage have the same"
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.app = handlers.NewApp(ctx, config)
	r.server = &http.Server{Handler: r.app, ReadHeaderTimeout: 10 * time.Second}
	go r.server.Serve(listener)
	return r, nil
}

// visit has a client use the registry until it calls what is returned, which is nil if the
// registry takes no clients any more.
func (r *registry) visit() (leave func()) {
	if !r.clients.TryRLock() {
		return nil
	}
	return r.clients.RUnlock
}

// spilled returns how many events it keeps until the cluster takes them.
func (r *registry) spilled() uint64 { return r.hub.Stat().Spilled }

// drain takes no more clients, and returns when those that are served have gone.
func (r *registry) drain() { r.clients.Lock() }

// stop ends the registry when the requests under way are through, and leaves its hub as it is.
func (r *registry) stop(ctx context.Context) error {
	defer r.cancel()
	return errors.Join(r.server.Shutdown(ctx), r.app.Shutdown())
}
