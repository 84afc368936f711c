package stocktest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/jetstream/clustertest"
	"github.com/registry-notifications/notifications/sinktest"
)

// From the text of a configuration to the webhook. What one run of the server could not
// deliver, the next one does.
func TestOutlivesTheServer(t *testing.T) {
	c, w, logs := cluster(t, nil), newWebhook(t), logged(t)
	first := start(t, options(c.URL(), w.url, ""))
	first.pushImage("library/app", "v1")
	w.waitFor(t, "push blob", "push manifest")
	w.away.Store(true)
	first.pushBlob("library/app", "x")
	sinktest.Eventually(t, func() bool { return w.missed.Load() > 2 }, "was tried")
	require.NoError(t, first.shutdown())
	require.EqualValues(t, 1, waitForLine(t, logs, "kept for the next start").Data["pending"])

	w.away.Store(false)
	second := start(t, options(c.URL(), w.url, ""))
	w.waitFor(t, "push blob", "push manifest", "push blob")
	second.pushImage("library/app", "v2")
	w.waitFor(t, "push blob", "push manifest", "push blob", "push blob", "push manifest")
	require.Equal(t, "v2", w.events[4].Target.Tag)
	require.NoError(t, second.shutdown())
}

// All options that say how, and none that says where.
func TestAllOptions(t *testing.T) {
	c, w := cluster(t, nil), newWebhook(t)
	r := start(t, options(c.URL(), w.url, `, stream: events, subject: registry.events, partitions: 2, replicas: 1,
  storage: memory, maxage: 1h, maxbytes: 64MiB, duplicates: 1m, window: 16, queued: true, spill: {dir: `+t.TempDir()+`/spill, sync: none, maxbytes: 16MiB}, timeout: 500ms, instance: one, backoff: 2s, maxbackoff: 3s`))
	r.pushImage("library/app", "v1")
	w.waitFor(t, "push blob", "push manifest")

	stream, err := connect(t, c).Stream(t.Context(), "events")
	require.NoError(t, err)
	has := stream.CachedInfo().Config
	require.Equal(t, []string{"registry.events.>"}, has.Subjects)
	require.Equal(t, jetstream.MemoryStorage, has.Storage)
	require.Equal(t, "1h0m0s 67108864 1m0s 1", fmt.Sprint(has.MaxAge, " ", has.MaxBytes, " ", has.Duplicates, " ", has.Replicas))
	require.EqualValues(t, 2, stream.CachedInfo().State.Msgs)
	letters, err := connect(t, c).Stream(t.Context(), "events-deadletters")
	require.NoError(t, err)
	require.Equal(t, jetstream.MemoryStorage, letters.CachedInfo().Config.Storage)
	require.NoError(t, r.shutdown())
}

// Two servers of one registry share a stream: of what both write, the webhook gets everything
// once.
func TestTwoServers(t *testing.T) {
	c, w := cluster(t, nil), newWebhook(t)
	one, two := start(t, options(c.URL(), w.url, ", instance: one")), start(t, options(c.URL(), w.url, ", instance: two"))
	const each = 20
	for i := range each {
		one.pushBlob(fmt.Sprint("library/one-", i), "x")
		two.pushBlob(fmt.Sprint("library/two-", i), "x")
	}
	sinktest.Eventually(t, func() bool { return len(w.kinds()) >= 2*each }, "events come")
	require.NoError(t, one.shutdown())
	require.NoError(t, two.shutdown())
	repositories := make(map[string]int)
	for _, e := range w.events {
		repositories[e.Target.Repository]++
	}
	require.Len(t, repositories, 2*each)
	require.Len(t, w.events, 2*each)
}

// Of a cluster of three, one server is named in the YAML, and dies.
func TestThreeServers(t *testing.T) {
	c, err := clustertest.Start(3, nil)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	logs, w := logged(t), newWebhook(t)
	r := start(t, "\ndispatchtimeout: 5s"+options(c.URLOf(0), w.url, ", replicas: 3, partitions: 2"))
	r.pushImage("library/app", "v1")
	w.waitFor(t, "push blob", "push manifest")
	c.Kill(0)
	waitForLine(t, logs, "the connection is there again")
	sinktest.Eventually(t, func() bool {
		r.pushBlob("library/app", "y")
		return len(w.kinds()) > 2
	}, "events come again")
	require.NoError(t, r.shutdown())
}

func connect(t *testing.T, c *clustertest.Cluster) jetstream.JetStream {
	t.Helper()
	nc, err := clustertest.Connect(c.URL())
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	return js
}

// givesUp are options with an endpoint that gives up at once.
func givesUp(c *clustertest.Cluster, w *webhook, more string) string {
	return `
hub: jetstream
jetstream: {servers: ["` + c.URL() + `"], lease: 1s}
endpoints: [{name: ci, url: "` + w.url + `", maxattempts: 1}]
` + more
}

// What is given up is in a stream beside, and outlives the server as the events do.
func TestDeadLetters(t *testing.T) {
	c, w := cluster(t, nil), newWebhook(t)
	w.away.Store(true)
	r := start(t, givesUp(c, w, ""))
	r.pushBlob("library/app", "x")
	js := connect(t, c)
	letters, err := js.Stream(t.Context(), "notifications-deadletters")
	require.NoError(t, err)
	sinktest.Eventually(t, func() bool {
		info, err := letters.Info(t.Context())
		return err == nil && info.State.Msgs > 0
	}, "a letter is there")
	require.NoError(t, r.shutdown())

	w.away.Store(false)
	r = start(t, givesUp(c, w, "")) // finds the stream
	r.pushBlob("library/app", "y")
	w.waitFor(t, "push blob") // and not what was given up
	require.NoError(t, r.shutdown())
	info, err := letters.Info(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, info.State.Msgs)
	m, err := letters.GetMsg(t.Context(), 1)
	require.NoError(t, err)
	var letter notifications.DeadLetter
	require.NoError(t, json.Unmarshal(m.Data, &letter))
	require.Equal(t, "ci", letter.Endpoint)
	require.Equal(t, http.StatusServiceUnavailable, letter.Status)
	require.Equal(t, "library/app", letter.Event.Target.Repository)
	require.NotEqual(t, w.events[0].ID, letter.Event.ID)
}

// Who names a file has them there.
func TestDeadLetterFile(t *testing.T) {
	c, w := cluster(t, nil), newWebhook(t)
	w.away.Store(true)
	path := filepath.Join(t.TempDir(), "dead.jsonl")
	r := start(t, givesUp(c, w, "deadletters: {file: "+path+"}"))
	r.pushBlob("library/app", "x")
	sinktest.Eventually(t, func() bool {
		b, err := os.ReadFile(path)
		return err == nil && len(b) > 0
	}, "a letter is there")
	require.NoError(t, r.shutdown())
	_, err := connect(t, c).Stream(t.Context(), "notifications-deadletters")
	require.ErrorIs(t, err, jetstream.ErrStreamNotFound)
}
