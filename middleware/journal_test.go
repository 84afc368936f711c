package middleware

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/handlers"
	registrymiddleware "github.com/distribution/distribution/v3/registry/middleware/registry"
	"github.com/distribution/reference"
	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/journal"
	"github.com/registry-notifications/notifications/sinktest"
)

// away is a webhook that takes nothing until it is told to, and keeps what it was sent
// then.
type away struct {
	*receiver
	back  atomic.Bool
	tries atomic.Int32

	mu  sync.Mutex // guards ids
	ids []string   // of what it was sent while it was away
}

func newAway(t *testing.T) *away {
	a := &away{receiver: &receiver{hold: make(chan struct{})}}
	close(a.hold)
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	a.URL = server.URL
	return a
}

func (a *away) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.back.Load() {
		a.receiver.ServeHTTP(w, r)
		return
	}
	envelope, err := notifications.DecodeEnvelope(r.Header.Get("Content-Type"), r.Body, 0)
	if err == nil {
		a.mu.Lock()
		for _, e := range envelope.Events {
			a.ids = append(a.ids, e.ID)
		}
		a.mu.Unlock()
		a.tries.Add(1)
	}
	w.WriteHeader(http.StatusServiceUnavailable)
}

func (a *away) sent() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.ids...)
}

func journalYAML(dir, url string) string {
	return `
middleware:
	registry:
		- name: notifications
			options:
				hub: journal
				journal: {dir: "` + dir + `", segmentbytes: 64KiB, maxbytes: 1MiB, sync: none}
				endpoints: [{name: ci, url: "` + url + `", backoff: 1ms, maxbackoff: 2ms}]
`
}

// What one run of the server could not deliver, the next one does, under the old IDs.
func TestJournalOutlivesTheServer(t *testing.T) {
	dir, webhook := filepath.Join(t.TempDir(), "events"), newAway(t)
	first := newServer(t, parseYAML(t, journalYAML(dir, webhook.URL)))
	first.pushImage("library/app", "v1")
	sinktest.Eventually(t, func() bool { return webhook.tries.Load() > 2 }, "was tried")
	require.NoError(t, first.shutdown())
	require.Empty(t, webhook.kinds())

	webhook.back.Store(true)
	second := newServer(t, parseYAML(t, journalYAML(dir, webhook.URL)))
	webhook.waitFor(t, "push blob", "push manifest")
	require.Equal(t, "v1", webhook.events[1].Target.Tag)
	require.Contains(t, webhook.sent(), webhook.events[0].ID)
	second.pushBlob("library/app", "x")
	webhook.waitFor(t, "push blob", "push manifest", "push blob")
	require.NoError(t, second.shutdown())

	// Nothing comes twice that was settled.
	third := newServer(t, parseYAML(t, journalYAML(dir, webhook.URL)))
	third.pushBlob("library/app", "y")
	webhook.waitFor(t, "push blob", "push manifest", "push blob", "push blob")
	require.NoError(t, third.shutdown())
}

// What stays behind is said at the end, not taken for lost.
func TestPendingIsToldAtTheEnd(t *testing.T) {
	logs := logrustest.NewGlobal()
	t.Cleanup(func() { logrus.StandardLogger().ReplaceHooks(make(logrus.LevelHooks)) })
	n := build(t, removable(), "hub: journal\njournal: {dir: '"+filepath.Join(t.TempDir(), "events")+"', sync: none}\nendpoints: [{name: ci, url: '"+newAway(t).URL+"'}]")
	name, err := reference.WithName("library/app")
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, n.(distribution.RepositoryRemover).Remove(t.Context(), name))
	}
	closeNamespace(t, n)
	told := entriesOf(logs, "kept for the next start")
	require.Len(t, told, 1)
	require.Equal(t, "ci", told[0].Data["endpoint"])
	require.EqualValues(t, 3, told[0].Data["pending"])

	// What is in memory is lost, and must not be said to be kept.
	logs.Reset()
	n = build(t, removable(), "draintimeout: 1ms\nendpoints: [{name: ci, url: '"+newAway(t).URL+"'}]")
	require.NoError(t, n.(distribution.RepositoryRemover).Remove(t.Context(), name))
	require.Error(t, n.(interface{ Close() error }).Close())
	require.Empty(t, entriesOf(logs, "kept for the next start"))
}

func entriesOf(logs *logrustest.Hook, message string) (found []*logrus.Entry) {
	for _, e := range logs.AllEntries() {
		if strings.Contains(e.Message, message) {
			found = append(found, e)
		}
	}
	return found
}

// Of two servers with one directory the second says where that stands, and who has it.
func TestJournalIsHeld(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "events")
	options := "hub: journal\njournal: {dir: '" + dir + "'}"
	first := build(t, &fakeRegistry{}, options)
	_, err := newRegistry(t.Context(), &fakeRegistry{}, nil, optionsOf(t, options))
	require.ErrorContains(t, err, root+".journal.dir: journal: "+dir+"/lock is held by process ")
	var locked *journal.LockedError
	require.ErrorAs(t, err, &locked)
	closeNamespace(t, first)
	closeNamespace(t, build(t, &fakeRegistry{}, options))

	server := newServer(t, parseYAML(t, journalYAML(dir, "http://127.0.0.1:1/")))
	config := parseYAML(t, journalYAML(dir, "http://127.0.0.1:1/"))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	func() {
		defer func() {
			require.ErrorContains(t, recover().(error), "middleware.registry.notifications.journal.dir: journal: "+dir+"/lock is held by process ")
		}()
		handlers.NewApp(ctx, config)
	}()
	require.NoError(t, server.shutdown())
}

// openJournalFor opens a journal for some endpoints, and returns what it has logged.
func openJournalFor(t *testing.T, o journalOptions, endpoints ...string) (*journal.Journal, *logrustest.Hook) {
	t.Helper()
	logger, logs := logrustest.NewNullLogger()
	hub, err := openJournal(t.Context(), o, HubSetup{Endpoints: endpoints, Logger: logrus.NewEntry(logger)})
	require.NoError(t, err)
	return hub.(*journal.Journal), logs
}

// An endpoint that is gone from the YAML holds what it has not had, until an operator
// says that it is not to come back.
func TestJournalForgets(t *testing.T) {
	o := journalOptions{Dir: filepath.Join(t.TempDir(), "events"), Sync: journal.SyncNone}
	j, logs := openJournalFor(t, o, "ci", "old", "older")
	require.Empty(t, logs.AllEntries())
	for _, name := range []string{"ci", "old", "older"} {
		sink := new(sinktest.Fake)
		sink.Fail(1<<30, errors.New("away"))
		require.NoError(t, j.Add(name, sink))
	}
	require.NoError(t, j.Write(t.Context(), sinktest.Events("e", 3)...))
	require.NoError(t, j.Close(t.Context()))

	j, logs = openJournalFor(t, o, "ci")
	told := entriesOf(logs, "name it in journal.forget")
	require.Len(t, told, 2)
	for i, name := range []string{"old", "older"} {
		require.Equal(t, logrus.WarnLevel, told[i].Level)
		require.Equal(t, name, told[i].Data["endpoint"])
		require.EqualValues(t, 3, told[i].Data["behind"])
	}
	require.Len(t, j.Stat().Cursors, 3)
	require.NoError(t, j.Close(t.Context()))

	o.Forget = []string{"old", "never there", ""}
	j, logs = openJournalFor(t, o, "ci")
	told = entriesOf(logs, "has forgotten")
	require.Len(t, told, 1)
	require.Equal(t, "old", told[0].Data["endpoint"])
	require.EqualValues(t, 3, told[0].Data["behind"])
	require.Len(t, entriesOf(logs, "name it in journal.forget"), 1)
	require.NoError(t, j.Close(t.Context()))

	// What was forgotten stays so, and what stays in the YAML does no harm.
	j, logs = openJournalFor(t, o, "ci", "older")
	require.Empty(t, logs.AllEntries())
	cursors := j.Stat().Cursors
	require.Contains(t, cursors, "ci")
	require.Contains(t, cursors, "older")
	require.Len(t, cursors, 2)
	require.EqualValues(t, 3, cursors["ci"].Behind)
	require.NoError(t, j.Close(t.Context()))
}

// A disabled endpoint holds its place: who disables one for an hour wants the events of
// that hour.
func TestJournalKeepsTheDisabled(t *testing.T) {
	dir, webhook := filepath.Join(t.TempDir(), "events"), newAway(t)
	options := func(more string) string {
		return "hub: journal\njournal: {dir: '" + dir + "'" + more + "}\nendpoints: [{name: ci, url: '" + webhook.URL + "', disabled: "
	}
	name, err := reference.WithName("library/app")
	require.NoError(t, err)
	webhook.back.Store(true)

	closeNamespace(t, build(t, removable(), options("")+"false}]"))
	n := build(t, removable(), options("")+"true}]")
	require.NoError(t, n.(distribution.RepositoryRemover).Remove(t.Context(), name))
	closeNamespace(t, n)
	require.Empty(t, webhook.kinds())
	n = build(t, removable(), options("")+"false}]")
	webhook.waitFor(t, "delete repository")
	closeNamespace(t, n)

	remembers := func() int {
		report, err := journal.Inspect(dir)
		require.NoError(t, err)
		return len(report.Cursors)
	}
	// Nothing is forgotten for a YAML that the server does not start with.
	_, err = registrymiddleware.Get(t.Context(), "notifications", optionsOf(t, options(", forget: [ci]")+
		"true}, {name: other, url: 'http://127.0.0.1:1/', tls: {cafile: /not/there}}]"), removable(), nil)
	require.ErrorContains(t, err, "middleware.registry.notifications.endpoints[1]")
	require.Equal(t, 1, remembers())

	closeNamespace(t, build(t, removable(), options(", forget: [ci]")+"true}]"))
	require.Zero(t, remembers())
}

func TestJournalTakesAllOptions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "events")
	d, o := new(document), journalOptions{}
	require.NoError(t, d.decode("p", optionsOf(t, `
dir: `+dir+`
sync: interval
syncinterval: 100ms
segmentbytes: 64KiB
maxbytes: 1MiB
maxage: 24h
overflow: drop-oldest
retain: 1h
start: beginning
backoff: 1s
maxbackoff: 1m
forget: [old]
`), &o))
	assertAllSet(t, o)
	j, _ := openJournalFor(t, o, "ci")
	require.NoError(t, j.Write(t.Context(), sinktest.Events("e", 3)...))
	require.EqualValues(t, 64<<10, j.Stat().Bytes)
	sink := new(sinktest.Fake)
	require.NoError(t, j.Add("ci", sink)) // from the beginning
	sinktest.Eventually(t, func() bool { return len(sink.Events()) == 3 }, "delivered")
	require.NoError(t, j.Close(t.Context()))
}
