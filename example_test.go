package notifications_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/distribution/reference"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// A program that tells a webhook of a deleted tag.
func Example() {
	webhook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		env, err := notifications.DecodeEnvelope(r.Header.Get("Content-Type"), r.Body, 0)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, e := range env.Events {
			fmt.Println(e.Action, e.Target.Type, e.Target.Repository, e.Target.Tag)
		}
	}))
	defer webhook.Close()

	endpoint, err := notifications.NewEndpoint("webhook", webhook.URL, notifications.EndpointConfig{})
	if err != nil {
		panic(err)
	}
	hub, err := notifications.NewBroadcaster(notifications.HubConfig{})
	if err != nil {
		panic(err)
	}
	if err := hub.Add(endpoint.Name(), endpoint); err != nil {
		panic(err)
	}
	bridge, err := notifications.NewBridge(hub, notifications.BridgeConfig{})
	if err != nil {
		panic(err)
	}

	// What Listen does for a distribution repository, a server can do itself.
	app, _ := reference.WithName("library/app")
	if err := bridge.TagDeleted(context.Background(), app, "v1"); err != nil {
		panic(err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println("closed:", hub.Close(ctx))
	// Output:
	// delete tag library/app v1
	// closed: <nil>
}

// A test of a program that uses the library has a fake sink.
func ExampleBroadcaster() {
	hub, _ := notifications.NewBroadcaster(notifications.HubConfig{})
	fake := new(sinktest.Fake)
	_ = hub.Add("fake", fake)

	_ = hub.Write(context.Background(), notifications.NewEvent(notifications.ActionPush))
	_ = hub.Close(context.Background())
	for _, e := range fake.Events() {
		fmt.Println(e.Action)
	}
	fmt.Printf("%+v\n", hub.Metrics()["fake"])
	// Output:
	// push
	// {Accepted:1 Delivered:1 Pending:0 Filtered:0 DeadLettered:0 Dropped:map[] Rejected:0}
}

// printer is a sink of one's own.
type printer struct {
	mu     sync.Mutex
	closed bool
}

func (p *printer) Write(_ context.Context, events ...*notifications.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return notifications.ErrSinkClosed
	}
	for _, e := range events {
		if e == nil {
			return notifications.ErrNilEvent
		}
	}
	for _, e := range events {
		fmt.Println("-", e.ID)
	}
	return nil
}

func (p *printer) Close(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return nil
}

func ExampleSink() {
	hub, _ := notifications.NewBroadcaster(notifications.HubConfig{})
	_ = hub.Add("printer", new(printer))
	_ = hub.Write(context.Background(), &notifications.Event{ID: "1"}, &notifications.Event{ID: "2"})
	_ = hub.Close(context.Background())
	fmt.Println(hub.Write(context.Background(), &notifications.Event{ID: "3"}))
	// Output:
	// - 1
	// - 2
	// notifications: sink closed
}

func ExampleNewFilter() {
	sink, _ := notifications.NewFilter(new(printer), notifications.Filter{
		Only:   notifications.Rules{Repositories: []string{"team/**"}},
		Ignore: notifications.Rules{Actions: []string{notifications.ActionPull}},
	})
	event := func(id, action, repository string) *notifications.Event {
		return &notifications.Event{ID: id, Action: action, Target: notifications.Target{Repository: repository}}
	}
	_ = sink.Write(context.Background(),
		event("1", notifications.ActionPush, "team/app"),
		event("2", notifications.ActionPull, "team/app"),
		event("3", notifications.ActionPush, "library/app"))
	// Output:
	// - 1
}

// Chains can be put together from their parts: here a queue, retries behind it, and
// behind these one's own sink.
func ExampleNewRetryingSink() {
	attempts := 0
	flaky := sinkFunc(func(events []*notifications.Event) error {
		if attempts++; attempts < 3 {
			return errors.New("not now")
		}
		fmt.Println(len(events), "events at attempt", attempts)
		return nil
	})
	log, _ := quietLogger()
	retrying, _ := notifications.NewRetryingSink(flaky, notifications.RetryConfig{Backoff: time.Millisecond, Logger: log})
	queue, _ := notifications.NewQueue(retrying, notifications.HubConfig{})
	_ = queue.Write(context.Background(), &notifications.Event{ID: "1"}, &notifications.Event{ID: "2"})
	fmt.Println("closed:", queue.Close(context.Background()))
	// Output:
	// 2 events at attempt 3
	// closed: <nil>
}

type sinkFunc func(events []*notifications.Event) error

func (f sinkFunc) Write(_ context.Context, events ...*notifications.Event) error { return f(events) }
func (f sinkFunc) Close(context.Context) error                                   { return nil }

func ExampleDecodeEnvelope() {
	body := strings.NewReader(`{"events":[{"id":"1","action":"push","target":{"repository":"library/app","tag":"v1"}}]}`)
	env, err := notifications.DecodeEnvelope(notifications.MediaTypeV2, body, 0)
	if err != nil {
		panic(err)
	}
	fmt.Println(env.Events[0].Action, env.Events[0].Target.Repository, env.Events[0].Target.Tag)

	_, err = notifications.DecodeEnvelope(notifications.MediaTypeV2, strings.NewReader(`{}`), 0)
	fmt.Println(errors.Is(err, notifications.ErrNotEnvelope))
	// Output:
	// push library/app v1
	// true
}

// The configuration decodes from an operator's YAML or JSON, and prints without its
// secrets.
func ExampleEndpointConfig() {
	var config notifications.EndpointConfig
	err := json.Unmarshal([]byte(`{
		"headers": {"Authorization": ["Bearer secret"]},
		"timeout": "500ms",
		"ignore": {"actions": ["pull"]}
	}`), &config)
	fmt.Println(config.Timeout, err)
	fmt.Printf("%v\n", config.Headers.Get("Authorization") == "Bearer secret")
	shown, _ := json.Marshal(config)
	fmt.Println(string(shown))

	fmt.Println(json.Unmarshal([]byte(`{"timeout": 500}`), &config))
	// Output:
	// 500ms <nil>
	// true
	// {"headers":{"Authorization":["[redacted]"]},"ignore":{"actions":["pull"]},"timeout":"500ms"}
	// notifications: endpoint: timeout: 500: allowed is text with a unit, as "500ms" or "1m30s"
}

// A server that is not distribution's wraps its handler, and tells a bridge what has
// happened.
func ExampleRecordRequests() {
	fake := new(sinktest.Fake)
	bridge, _ := notifications.NewBridge(fake, notifications.BridgeConfig{})
	server := notifications.RecordRequests(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ctx := notifications.ContextWithActor(r.Context(), notifications.ActorRecord{Name: "alice"})
		app, _ := reference.WithName("library/app")
		_ = bridge.RepositoryDeleted(ctx, app)
	}))
	r := httptest.NewRequest("DELETE", "http://registry.example.org/", nil)
	server.ServeHTTP(httptest.NewRecorder(), r)

	e := fake.Events()[0]
	fmt.Println(e.Action, e.Target.Type, e.Target.Repository, "by", e.Actor.Name, "on", e.Request.Host)
	// Output:
	// delete repository library/app by alice on registry.example.org
}

// An event that the receiver refuses goes to the dead letters once a later one is
// accepted. When the receiver is mended, it is sent again.
func ExampleEndpoint_Replay() {
	var mended atomic.Bool
	webhook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		env, err := notifications.DecodeEnvelope(r.Header.Get("Content-Type"), r.Body, 0)
		if err != nil || env.Events[0].ID == "odd" && !mended.Load() {
			http.Error(w, "cannot read this", http.StatusBadRequest)
		}
	}))
	defer webhook.Close()

	log, _ := quietLogger()
	letters := notifications.NewDeadLetters(100, log)
	endpoint, err := notifications.NewEndpoint("webhook", webhook.URL, notifications.EndpointConfig{DeadLetters: letters, Logger: log})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	_ = endpoint.Write(ctx, &notifications.Event{ID: "odd"}, &notifications.Event{ID: "good"})
	for endpoint.Metrics().Pending > 0 {
		time.Sleep(time.Millisecond)
	}
	for _, l := range letters.Letters() {
		fmt.Println(l.Event.ID, l.Reason, l.Status, l.Answer)
	}

	mended.Store(true)
	n, err := endpoint.Replay(ctx, notifications.ReplayFilter{IDs: []string{"odd"}})
	fmt.Println(n, "replayed", err)
	fmt.Println("closed:", endpoint.Close(ctx))
	fmt.Println(endpoint.Metrics().Delivered, "delivered,", len(letters.Letters()), "dead letters left")
	// Output:
	// odd refused 400 cannot read this
	// 1 replayed <nil>
	// closed: <nil>
	// 2 delivered, 0 dead letters left
}

// A hub in memory grows as long as a receiver is dead, unless it is bounded.
func ExampleOverflow() {
	log, _ := quietLogger()
	hub, _ := notifications.NewBroadcaster(notifications.HubConfig{MaxPending: 2, Overflow: notifications.DropNewest, Logger: log})
	fake := new(sinktest.Fake)
	release := fake.Hold()
	_ = hub.Add("slow", fake)
	for range 3 {
		fmt.Println(hub.Write(context.Background(), notifications.NewEvent(notifications.ActionPush)))
	}
	release()
	_ = hub.Close(context.Background())
	fmt.Printf("%+v\n", hub.Metrics()["slow"])
	// Output:
	// <nil>
	// <nil>
	// notifications: sink full: slow
	// {Accepted:2 Delivered:2 Pending:0 Filtered:0 DeadLettered:0 Dropped:map[] Rejected:1}
}
