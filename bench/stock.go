package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"

	registry "github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	middleware "github.com/distribution/distribution/v3/registry/middleware/registry"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/distribution/reference"
)

// stock is what a stock distribution server works with, before anything of its own
// notifications is around it.
type stock struct {
	registry.Namespace
	request *http.Request
	ctx     context.Context // of that request, as the repository's methods get it
	end     func()          // of the request; that it can end is enough
}

// stockServer is made once, because its package can only be told once to hand out
// what it has.
var stockServer = sync.OnceValues(func() (*stock, error) {
	s := new(stock)
	if err := middleware.Register("bench", s.wrap); err != nil {
		return nil, err
	}
	config := &configuration.Configuration{
		Storage: configuration.Storage{
			"inmemory":    configuration.Parameters{},
			"cache":       configuration.Parameters{"blobdescriptor": "inmemory"},
			"delete":      configuration.Parameters{"enabled": true},
			"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
		},
		Middleware: map[string][]configuration.Middleware{"registry": {{Name: "bench"}}},
	}
	config.HTTP.Addr, config.HTTP.Secret = ":5000", "secret"
	app := handlers.NewApp(context.Background(), config)

	s.request = httptest.NewRequest(http.MethodGet, "http://registry.example.org/v2/team-01/service-001/manifests/v1", nil)
	ctx, end := context.WithCancel(context.Background())
	s.request, s.end = s.request.WithContext(ctx), end
	s.request.RemoteAddr = "10.120.130.140:43210"
	s.request.Header.Set("User-Agent", "docker/29.1.2 go/go1.26.0 os/linux arch/amd64")
	app.ServeHTTP(httptest.NewRecorder(), s.request) // it finds nothing there yet
	if s.ctx == nil {
		return nil, errors.New("the stock server asked for no repository")
	}
	return s, app.Shutdown()
})

// wrap is the middleware by which the server hands out what it has.
func (s *stock) wrap(_ context.Context, n registry.Namespace, _ driver.StorageDriver, _ map[string]any) (registry.Namespace, error) {
	s.Namespace = n
	return s, nil
}

// served is the context of a request that is answered by what it asks for.
type served struct{ context.Context }

func (s served) Value(key any) any {
	if key == "http.response.status" {
		return http.StatusOK
	}
	return s.Context.Value(key)
}

// Repository keeps the context of the first request.
func (s *stock) Repository(ctx context.Context, name reference.Named) (registry.Repository, error) {
	if s.ctx == nil {
		s.ctx = served{ctx}
	}
	return s.Namespace.Repository(ctx, name)
}
