package clustertest

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/jetstream"
	"github.com/registry-notifications/notifications/sinktest"
)

func connect(t *testing.T, urls string, more ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := Connect(urls, more...)
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	return nc
}

// TestBadConfig: each error names the field, the value and what is allowed.
func TestBadConfig(t *testing.T) {
	c, err := Start(1, nil)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	nc := connect(t, c.URL())
	for want, config := range map[string]jetstream.Config{
		`stream: "a b": allowed are letters`:          {Stream: "a b"},
		`subject: "a.*": allowed are letters`:         {Subject: "a.*"},
		`partitions: 2000: allowed are 1 to 1024`:     {Partitions: 2000},
		`replicas: 7: allowed are 1 to 5`:             {Replicas: 7},
		`window: -1: allowed are 1 to`:                {Window: -1},
		`lease: 1ms: allowed are 1s and above`:        {Lease: time.Millisecond},
		`maxage: -1s: allowed are`:                    {MaxAge: -time.Second},
		`maxbytes: -1: allowed are zero`:              {MaxBytes: -1},
		`duplicates: 2m0s: allowed are those up to`:   {MaxAge: time.Second, Duplicates: 2 * time.Minute},
		`spill.dir: empty: is needed with spill.sync`: {Spill: jetstream.Spill{MaxBytes: 1 << 20}},
		`spill.dir: `:                                 {Stream: "spills", Spill: jetstream.Spill{Dir: "/nowhere/at/all"}},
		`spill.maxbytes: 1: allowed`:                  {Stream: "spills", Spill: jetstream.Spill{Dir: filepath.Join(t.TempDir(), "spill"), MaxBytes: 1}},
		`hub: maxpending 1, maxpendingbytes 0: are`:   {Hub: notifications.HubConfig{MaxPending: 1}},
		`backoff: -1s`:                                {Stream: "never", Hub: notifications.HubConfig{Backoff: -time.Second}},
		`timeout: 3s: allowed is half of lease, 5s`:   {Timeout: 3 * time.Second, Lease: 5 * time.Second},
		`replicas > 1 not supported in non-clustered`: {Stream: "three", Replicas: 3},
	} {
		_, err := jetstream.Open(t.Context(), nc, config)
		assert.ErrorContains(t, err, want)
	}
	_, err = jetstream.Open(t.Context(), nil, jetstream.Config{})
	assert.ErrorContains(t, err, "connection: nil")
}

// TestOtherSettings: a stream that is there with other settings is left as it is, and the
// first that differs is named.
func TestOtherSettings(t *testing.T) {
	c, err := Start(1, nil)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	nc := connect(t, c.URL())
	base := jetstream.Config{Stream: "same", MaxBytes: 1 << 20, Lease: time.Second}
	first, err := jetstream.Open(t.Context(), nc, base)
	require.NoError(t, err)
	require.NoError(t, first.Close(t.Context()))
	for want, change := range map[string]func(*jetstream.Config){
		"maxbytes is 1048576: the configuration has 2097152": func(c *jetstream.Config) { c.MaxBytes *= 2 },
		"maxage is 0s: the configuration has 1h0m0s":         func(c *jetstream.Config) { c.MaxAge = time.Hour },
		"partitions is 8: the configuration has 4":           func(c *jetstream.Config) { c.Partitions = 4 },
		"storage is File: the configuration has Memory":      func(c *jetstream.Config) { c.Storage = js.MemoryStorage },
		"duplicates is 2m0s: the configuration has 1m0s":     func(c *jetstream.Config) { c.Duplicates = time.Minute },
		"lease is 1s: the configuration has 2s":              func(c *jetstream.Config) { c.Lease = 2 * time.Second },
		"subjects is [same.>]: the configuration has":        func(c *jetstream.Config) { c.Subject = "other" },
	} {
		config := base
		change(&config)
		_, err := jetstream.Open(t.Context(), nc, config)
		var setting *jetstream.SettingError
		require.ErrorAs(t, err, &setting, want)
		assert.ErrorContains(t, err, want)
	}
}

// TestNoJetStream: servers without it, without a permission, and none at all.
func TestNoJetStream(t *testing.T) {
	c, err := Start(1, func(o *server.Options) { o.JetStream = false })
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	_, err = jetstream.Open(t.Context(), connect(t, c.URL()), jetstream.Config{})
	assert.ErrorContains(t, err, "asking the servers")

	c, err = Start(1, func(o *server.Options) {
		o.Users = []*server.User{{Username: "registry", Password: "secret", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{"nothing"}},
		}}}
	})
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	_, err = Connect(c.URL(), nats.UserInfo("registry", "wrong"))
	assert.ErrorIs(t, err, nats.ErrAuthorization)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err = jetstream.Open(ctx, connect(t, c.URL(), nats.UserInfo("registry", "secret"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})), jetstream.Config{})
	assert.ErrorIs(t, err, nats.ErrPermissionViolation)
}

// TestMayNotPublish: a connection that may do all but publish events is told so.
func TestMayNotPublish(t *testing.T) {
	c, err := Start(1, func(o *server.Options) {
		o.Users = []*server.User{{Username: "registry", Password: "secret", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Deny: []string{"notifications.>"}},
		}}}
	})
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err = jetstream.Open(ctx, connect(t, c.URL(), nats.UserInfo("registry", "secret")), jetstream.Config{})
	assert.ErrorIs(t, err, nats.ErrPermissionViolation)
	assert.ErrorContains(t, err, `publishing on "notifications.>"`)
}

// TestWriteSaysWhy: a Write that ends with its context says what it has waited for.
func TestWriteSaysWhy(t *testing.T) {
	a := newAway(t, func(*jetstream.Config) {})
	a.proxy.Cut(true)
	sinktest.Eventually(t, func() bool { // the first may wait for an answer
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		err := a.hub.Write(ctx, sinktest.Events("repo", 1)...)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		return strings.Contains(err.Error(), "RECONNECTING")
	}, "said")
}

// TestOddEvents: names that a subject would take for its own, and an event that is too large.
func TestOddEvents(t *testing.T) {
	c, err := Start(1, func(o *server.Options) { o.MaxPayload = 64 << 10 })
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	h := openHub(t, c.URL(), jetstream.Config{Lease: time.Second, Logger: quiet()})
	fake := new(sinktest.Fake)
	require.NoError(t, h.Add("all of *.> it", fake))
	var events []*notifications.Event
	for _, name := range []string{"a.b", "a*", "a.>", "a b", "", "ä", "a\nb", " a"} {
		e := sinktest.Events(name, 1)[0]
		e.ID = notifications.NewEvent("push").ID
		e.Action = name
		events = append(events, e)
	}
	for _, e := range events { // one by one: partitions have no order among them
		require.NoError(t, h.Write(t.Context(), e))
	}
	assert.ElementsMatch(t, sinktest.IDs(events), sinktest.IDs(fake.Wait(t, len(events))))

	large := sinktest.Events("large", 2)
	large[1].Target.URL = strings.Repeat("x", 64<<10)
	err = h.Write(t.Context(), large...)
	var size *jetstream.SizeError
	require.ErrorAs(t, err, &size)
	assert.Equal(t, "large-1", size.Event)
	records, err := h.Read(t.Context(), 0, 100)
	require.NoError(t, err)
	assert.Len(t, records, len(events), "nothing of its block was written")
}

// TestAlien: what somebody else has published on the subjects is passed over, by sinks and
// by feeds.
func TestAlien(t *testing.T) {
	c, err := Start(1, nil)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	h := openHub(t, c.URL(), jetstream.Config{Lease: time.Second, Partitions: 1, Logger: quiet()})
	fake := new(sinktest.Fake)
	require.NoError(t, h.Add("fake", fake))
	nc := connect(t, c.URL())
	events := sinktest.Events("repo", 30)
	for i, alien := range []string{"", "{no JSON}", `{"id":`} {
		require.NoError(t, h.Write(t.Context(), events[10*i:10*i+10]...))
		_, err := nc.RequestMsg(&nats.Msg{Subject: "notifications.0.push", Header: nats.Header{"Repository": {"repo"}}, Data: []byte(alien)}, time.Second)
		require.NoError(t, err)
	}
	assert.Equal(t, sinktest.IDs(events), sinktest.IDs(fake.Wait(t, 30)))
	records, err := h.Read(t.Context(), 0, 100)
	require.NoError(t, err)
	assert.Len(t, records, 30)
	records, err = h.Read(t.Context(), 32, 100)
	require.NoError(t, err)
	assert.Empty(t, records)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, h.Wait(ctx, 32), context.DeadlineExceeded, "a reader does not go round")
}

// TestFull: a stream that is full of what a sink has not had says so; what it has had makes
// room.
func TestFull(t *testing.T) {
	h := one(t)(t, func(c *jetstream.Config) { c.MaxBytes = 64 << 10 })
	fake := new(sinktest.Fake)
	release := fake.Hold()
	require.NoError(t, h.Add("fake", fake))
	var written []*notifications.Event
	var err error
	write := func() {
		block := sinktest.Events(fmt.Sprint("repo", len(written)), 10)
		if err = h.Write(t.Context(), block...); err == nil {
			written = append(written, block...)
		}
	}
	for write(); err == nil; write() {
		require.Less(t, len(written), 1000)
	}
	var full *jetstream.FullError
	require.ErrorAs(t, err, &full)
	release()
	sinktest.Eventually(t, func() bool { return h.Metrics()["fake"].Pending == 0 }, "delivered")
	for fill := len(written); len(written) < 5*fill; {
		write()
		require.NoError(t, err)
		sinktest.Eventually(t, func() bool { return h.Metrics()["fake"].Pending == 0 }, "delivered")
	}
	assert.ElementsMatch(t, sinktest.IDs(written), sinktest.IDs(fake.Wait(t, len(written))))
	_, err = h.Read(t.Context(), 0, 1)
	var gone *notifications.PositionError
	require.ErrorAs(t, err, &gone)
	records, err := h.Read(t.Context(), gone.First-1, 1)
	require.NoError(t, err)
	assert.Len(t, records, 1)
}
