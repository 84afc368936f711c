package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/middleware"
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

// redisHub would keep the events in a server of its own. Here it is a hub in memory.
type redisHub struct{ *notifications.Broadcaster }

type redisOptions struct {
	Addr     string        `yaml:"addr"`
	MaxBytes int64         `yaml:"maxbytes"` // a size, as "64MiB"
	Timeout  time.Duration `yaml:"timeout"`  // text with a unit
}

func openRedis(_ context.Context, o redisOptions, setup middleware.HubSetup) (middleware.Hub, error) {
	if o.Addr == "" {
		return nil, &notifications.ConfigError{Field: "addr", Err: errors.New("empty: allowed is host:port")}
	}
	fmt.Println(o.Addr, o.MaxBytes, o.Timeout, setup.Endpoints)
	hub, err := notifications.NewBroadcaster(notifications.HubConfig{Logger: setup.Logger})
	if err != nil {
		return nil, err
	}
	return &redisHub{hub}, nil
}

// A package with a hub registers it in its init function, and is imported for that.
func ExampleRegisterHub() {
	middleware.RegisterHub("redis", openRedis)

	for _, redis := range []string{
		`{addr: "10.0.0.7:6379", maxbytes: 64MiB, timeout: 5s}`,
		`{maxbytes: 64MiB}`,
		`{addr: "10.0.0.7:6379", maxbytes: 64MB}`,
	} {
		config, err := configuration.Parse(strings.NewReader(`
version: 0.1
storage:
  inmemory: {}
middleware:
  registry:
    - name: notifications
      options:
        hub: redis
        redis: ` + redis + `
        endpoints:
          - name: webhook
            url: https://example.org/events
`))
		if err != nil {
			fmt.Println(err)
			return
		}
		start(config)
	}
	// Output:
	// 10.0.0.7:6379 67108864 5s [webhook]
	// unable to configure registry middleware (notifications): middleware.registry.notifications.redis.addr: empty: allowed is host:port
	// unable to configure registry middleware (notifications): middleware.registry.notifications.redis.maxbytes: "64MB": allowed is a whole number of bytes, or one with KiB, MiB, GiB or TiB behind it, as "64MiB"
}

// start starts a stock application, and ends it. One that cannot start panics.
func start(config *configuration.Configuration) {
	defer func() {
		if err := recover(); err != nil {
			fmt.Println(err)
		}
	}()
	logrus.SetOutput(io.Discard)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := handlers.NewApp(ctx, config).Shutdown(); err != nil {
		fmt.Println(err)
	}
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
