package comparison

import (
	"context"
	"net/http"
	"sync"

	"github.com/distribution/distribution/v3"
	registrymiddleware "github.com/distribution/distribution/v3/registry/middleware/registry"
	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/reference"
)

// request is what a client asked for, and how the registry answered.
type request struct {
	method, ranges string
	status         int
}

// requests are those of a server. It is a middleware of the server's, as the ID that the
// events have is only known in there.
type requests struct {
	mu sync.Mutex                 // guards of
	of map[string]context.Context // by the ID: a stock server's context says all of a request
}

const watch = "watch"

func init() {
	err := registrymiddleware.Register(watch, func(_ context.Context, inner distribution.Namespace, _ storagedriver.StorageDriver, options map[string]any) (distribution.Namespace, error) {
		return watched{inner, options["to"].(*requests)}, nil
	})
	if err != nil {
		panic(err) // two of one name: the program was put together wrong
	}
}

// by returns the request with an ID. It has to be over.
func (r *requests) by(id string) request {
	r.mu.Lock()
	defer r.mu.Unlock()
	ctx := r.of[id]
	if ctx == nil {
		return request{}
	}
	asked := ctx.Value("http.request").(*http.Request)
	status, _ := ctx.Value("http.response.status").(int)
	return request{asked.Method, asked.Header.Get("Range"), status}
}

type watched struct {
	distribution.Namespace
	to *requests
}

func (w watched) Repository(ctx context.Context, name reference.Named) (distribution.Repository, error) {
	id, _ := ctx.Value("http.request.id").(string)
	w.to.mu.Lock()
	defer w.to.mu.Unlock()
	if w.to.of == nil {
		w.to.of = make(map[string]context.Context)
	}
	w.to.of[id] = ctx
	return w.Namespace.Repository(ctx, name)
}
