package middleware_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications"
	_ "github.com/registry-notifications/notifications/middleware"
)

// A stock server tells a webhook what its clients do.
func Example() {
	webhook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		envelope, err := notifications.DecodeEnvelope(r.Header.Get("Content-Type"), r.Body, 0)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, e := range envelope.Events {
			fmt.Println(e.Action, e.Target.Type, e.Target.Repository, e.Target.Size, "bytes")
		}
	}))
	defer webhook.Close()

	config, err := configuration.Parse(strings.NewReader(`
version: 0.1
storage:
  inmemory: {}
http:
  secret: of several registries with one storage
middleware:
  registry:
    - name: notifications
      options:
        endpoints:
          - name: webhook
            url: ` + webhook.URL + `
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	logrus.SetOutput(io.Discard)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	app := handlers.NewApp(ctx, config)
	registry := httptest.NewServer(app)
	upload(registry.URL, "library/app")

	// First the server, then the application: what the last requests made goes out.
	registry.Close()
	if err := app.Shutdown(); err != nil {
		fmt.Println(err)
	}
	// Output: push blob library/app 5 bytes
}

// upload puts the blob "hello" into a repository.
func upload(registry, repository string) {
	start, err := http.Post(registry+"/v2/"+repository+"/blobs/uploads/", "", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	start.Body.Close()
	put, err := http.NewRequest(http.MethodPut, start.Header.Get("Location")+
		"&digest=sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", strings.NewReader("hello"))
	if err != nil {
		fmt.Println(err)
		return
	}
	end, err := http.DefaultClient.Do(put)
	if err != nil {
		fmt.Println(err)
		return
	}
	end.Body.Close()
	http.DefaultClient.CloseIdleConnections()
}
