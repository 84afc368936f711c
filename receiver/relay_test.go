package receiver_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/journal"
	"github.com/registry-notifications/notifications/receiver"
	"github.com/registry-notifications/notifications/signature"
	"github.com/registry-notifications/notifications/sinktest"
)

// request is one that a registry has sent.
type request struct {
	ContentType string
	UserAgent   string
	Body        string
}

// captured returns what real registries have sent: distribution 2.8.2 and 3.1.2.
func captured(t testing.TB) (all []request) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "testdata", "captured", "*.jsonl"))
	require.NoError(t, err)
	require.Len(t, files, 2)
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		lines := bufio.NewScanner(bytes.NewReader(content))
		lines.Buffer(nil, len(content))
		for lines.Scan() {
			var req request
			require.NoError(t, json.Unmarshal(lines.Bytes(), &req))
			all = append(all, req)
		}
		require.NoError(t, lines.Err())
	}
	require.NotEmpty(t, all)
	return all
}

func (r *rig) replay(req request) int {
	sent := r.request(req.Body)
	sent.Header.Set("Content-Type", req.ContentType)
	sent.Header.Set("User-Agent", req.UserAgent)
	sent.Header.Set("Authorization", "Bearer configured")
	return r.do(sent).status
}

// eventsIn returns the bytes of the events of an envelope, as encoding/json cuts it.
func eventsIn(t testing.TB, body string) (all []string) {
	t.Helper()
	var env struct{ Events []json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(body), &env))
	for _, e := range env.Events {
		all = append(all, string(e))
	}
	return all
}

// TestCaptured: what real registries send arrives, as it was sent, and once.
func TestCaptured(t *testing.T) {
	f := new(sinktest.Fake)
	r := start(t, f, receiver.Config{Authorization: []string{"Bearer configured"}})
	var want []string
	for _, req := range captured(t) {
		require.Equal(t, 200, r.replay(req))
		require.Equal(t, 200, r.replay(req), "a retry")
		want = append(want, eventsIn(t, req.Body)...)
	}
	assert.Equal(t, want, encodings(t, f.Events()))
	assert.EqualValues(t, len(want), r.Metrics().Duplicates)
	for _, e := range f.Events() {
		assert.NotEmpty(t, e.ID)
		assert.NotEmpty(t, e.Action)
		assert.False(t, e.Timestamp.IsZero())
		assert.NotEmpty(t, e.Target.Repository)
		assert.NotEmpty(t, e.Source.InstanceID)
	}
}

// gitlab is what GitLab's registry sends beyond distribution's: who the user is, and the
// names of a rename.
const gitlab = `{
   "events": [
      {
         "id": "6d7cbeb4-3d5f-4b56-a4b4-b1b5bdb6b3e7",
         "timestamp": "2026-11-21T09:58:57.626693744Z",
         "action": "rename",
         "target": {"repository": "group/app", "rename": {"type": "name", "from": "group/app", "to": "group/new"}},
         "request": {"id": "1", "addr": "192.0.2.7", "host": "registry.example.com", "method": "PATCH", "useragent": "curl/8"},
         "actor": {"name": "root", "user_type": "gitlab_or_ldap", "user": {"jwt": "x.y.z"}},
         "source": {"addr": "registry-1:5000", "instanceID": "127c3ccb-d40b-4099-9c49-d89a088d6215"}
      }
   ]
}`

// strange has what a relay must not touch.
const strange = `{"events":[{"x-first":1,"id":"strange","action":"custom","n":1.0,"big":12345678901234567890123,` +
	`"e":"\u00e9\/<>&","target":{"future":[ true,null ],"tag":"v1","length":7},"dup":1,"dup":2,"z":{"":{}}}]}`

// TestRelay: receiver → hub → Endpoint → receiver → hub → Endpoint → receiver, with hubs of
// each kind and signatures, and at the end the bytes are those that the registry sent.
func TestRelay(t *testing.T) {
	last := new(sinktest.Fake)
	end := start(t, last, receiver.Config{Keys: []signature.Key{parseKey(t, newKey)}})

	onDisk, err := journal.Open(t.TempDir(), journal.Config{Logger: quiet()})
	require.NoError(t, err)
	defer onDisk.Close(t.Context())
	require.NoError(t, onDisk.Add("end", endpoint(t, end.url, newKey)))
	middle := start(t, onDisk, receiver.Config{Keys: []signature.Key{parseKey(t, parseKey(t, privateKey).Public())}})

	inMemory, err := notifications.NewBroadcaster(notifications.HubConfig{Logger: quiet()})
	require.NoError(t, err)
	defer inMemory.Close(t.Context())
	require.NoError(t, inMemory.Add("middle", endpoint(t, middle.url, privateKey)))
	first := start(t, inMemory, receiver.Config{Authorization: []string{"Bearer configured"}})

	requests := append(captured(t),
		request{notifications.MediaTypeV1, "registry", gitlab},
		request{"application/json; charset=utf-8", "curl/8", strange})
	var want []string
	for _, req := range requests {
		require.Equal(t, 200, first.replay(req))
		want = append(want, eventsIn(t, req.Body)...)
	}
	assert.Equal(t, want, encodings(t, last.Wait(t, len(want))))
}

func endpoint(t *testing.T, url, key string) *notifications.Endpoint {
	t.Helper()
	e, err := notifications.NewEndpoint("relay", url, notifications.EndpointConfig{
		SigningKeys: []string{key}, Backoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond, Logger: quiet(),
	})
	require.NoError(t, err)
	return e
}

// TestRelayOfALaggard: a hub in memory packs what waits for long, and the bytes stay.
func TestRelayOfALaggard(t *testing.T) {
	hub, err := notifications.NewBroadcaster(notifications.HubConfig{Logger: quiet()})
	require.NoError(t, err)
	f := new(sinktest.Fake)
	release := f.Hold()
	defer release()
	require.NoError(t, hub.Add("slow", f))
	r := start(t, hub, receiver.Config{})
	var want []string
	for range 8 {
		body := string(bytes.ReplaceAll(batch(t, 1000), []byte(`"action":"push"`), []byte(`"action": "push", "x" : 1`)))
		require.Equal(t, 200, r.post(body).status)
		want = append(want, eventsIn(t, body)...)
	}
	release()
	require.NoError(t, hub.Close(t.Context()))
	assert.Equal(t, want, encodings(t, f.Events()))
	assert.Equal(t, "library/app", f.Events()[7999].Target.Repository)
}

// TestEndpointFindsTheBadEvent: of a refused envelope nothing is written, and an Endpoint
// halves it until the one event that cannot be taken is in the dead letters.
func TestEndpointFindsTheBadEvent(t *testing.T) {
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if body, _ := io.ReadAll(req.Body); bytes.Contains(body, []byte("bad")) {
			w.WriteHeader(400)
		}
	}))
	defer far.Close()
	passOn, err := notifications.NewHTTPSink(far.URL, notifications.HTTPConfig{})
	require.NoError(t, err)
	defer passOn.Close(t.Context())

	for name, c := range map[string]struct {
		sink   notifications.Sink
		config receiver.Config
		status string
	}{
		"too large for the receiver": {new(sinktest.Fake), receiver.Config{MaxBytes: 4096}, "413 Request Entity Too Large"},
		"refused behind it":          {passOn, receiver.Config{}, "422 Unprocessable Entity"},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, c.sink, c.config)
			letters := notifications.NewDeadLetters(10, quiet())
			e, err := notifications.NewEndpoint("hook", r.url, notifications.EndpointConfig{
				Backoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond, DeadLetters: letters, Logger: quiet(),
			})
			require.NoError(t, err)
			defer e.Close(t.Context())
			events := sinktest.Events("app", 9)
			events[4].Target.Tag = "bad" + strings.Repeat("x", 5000)
			require.NoError(t, e.Write(t.Context(), events...))
			sinktest.Eventually(t, func() bool { return e.Metrics().Pending == 0 }, "all are settled")
			m := e.Metrics()
			assert.EqualValues(t, 8, m.Delivered)
			assert.EqualValues(t, 1, m.DeadLettered)
			assert.EqualValues(t, 8, r.Metrics().Events)
			assert.NotZero(t, m.Statuses[c.status], "%v", m.Statuses)
		})
	}
}

// TestEndpointWaits: what cannot be taken now stays with the sender.
func TestEndpointWaits(t *testing.T) {
	f := new(sinktest.Fake)
	f.Fail(-1, notifications.ErrSinkClosed)
	r := start(t, f, receiver.Config{})
	e := endpoint(t, r.url, oldKey)
	require.NoError(t, e.Write(t.Context(), sinktest.Events("app", 3)...))
	sinktest.Eventually(t, func() bool { return e.Metrics().State.Reason == notifications.ReasonRetryAfter }, "it is asked to stay away")
	assert.EqualValues(t, 3, e.Metrics().Pending)

	f.Fail(0, nil)
	e.Resume()
	f.Wait(t, 3)
	require.NoError(t, e.Close(t.Context()))
	assert.EqualValues(t, 3, e.Metrics().Delivered)
}
