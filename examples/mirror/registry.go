package main

import (
	"context"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

// registry is a stock distribution server, which keeps its content in a directory.
type registry struct {
	*handlers.App
	cancel context.CancelFunc
}

func newRegistry(dir string) (*registry, error) {
	config := &configuration.Configuration{
		Storage: configuration.Storage{
			"filesystem":  configuration.Parameters{"rootdirectory": dir},
			"delete":      configuration.Parameters{"enabled": true},
			"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
		},
	}
	config.Catalog.MaxEntries = 1000
	config.HTTP.Secret = "outlives the process, as the uploads do"
	ctx, cancel := context.WithCancel(context.Background())
	return &registry{App: handlers.NewApp(ctx, config), cancel: cancel}, nil
}

// close is for when no request is under way any more.
func (r *registry) close(context.Context) error {
	defer r.cancel()
	return r.Shutdown()
}
