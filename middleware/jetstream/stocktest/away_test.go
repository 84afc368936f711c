package stocktest

import (
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications/sinktest"
)

func waitForLine(t *testing.T, logs *logrustest.Hook, message string) *logrus.Entry {
	t.Helper()
	sinktest.Eventually(t, func() bool { return len(lines(logs, message)) > 0 }, "the log says that %s", message)
	return lines(logs, message)[0]
}

// Servers that go away and come back are connected to again, even where they refuse the
// connection for a while. Each of it is one line.
func TestComesBack(t *testing.T) {
	d := new(door)
	d.open.Store(true)
	c := cluster(t, func(o *server.Options) { o.CustomClientAuthentication = d })
	logs, w := logged(t), newWebhook(t)
	r := start(t, options(strings.Replace(c.URL(), "nats://", "nats://"+secret+"@", 1), w.url, ""))
	r.pushImage("library/app", "v1")
	w.waitFor(t, "push blob", "push manifest")

	c.Kill(0)
	waitForLine(t, logs, "the connection is lost")
	d.open.Store(false)
	d.tries.Store(0)
	require.NoError(t, c.Restart(0))
	// After the second time a client gives up that is not told otherwise.
	sinktest.Eventually(t, func() bool { return d.tries.Load() > 3 }, "it is refused")
	d.open.Store(true)
	waitForLine(t, logs, "the connection is there again")
	sinktest.Eventually(t, func() bool {
		r.pushBlob("library/app", "y")
		return len(w.kinds()) > 2
	}, "events come again")
	require.NoError(t, r.shutdown())

	require.Len(t, lines(logs, "the connection is lost"), 1)
	require.Len(t, lines(logs, "the connection is there again"), 1)
	refusals := 0
	for _, e := range lines(logs, "a server refuses something") {
		if errors.Is(e.Data[logrus.ErrorKey].(error), nats.ErrAuthorization) {
			refusals++
		}
	}
	require.Equal(t, 1, refusals)
	for _, e := range logs.AllEntries() {
		text, err := e.String()
		require.NoError(t, err)
		require.NotContains(t, text, secret)
	}
}

// door lets clients in that have the token, while it is open.
type door struct {
	open  atomic.Bool
	tries atomic.Int32
}

func (d *door) Check(c server.ClientAuthentication) bool {
	d.tries.Add(1)
	return d.open.Load() && c.GetOpts().Token == secret
}

// A network that swallows everything is noticed, though no connection is ever reset.
func TestSilentNetwork(t *testing.T) {
	c := cluster(t, nil)
	n := newNetwork(t, strings.TrimPrefix(c.URL(), "nats://"))
	logs, w := logged(t), newWebhook(t)
	r := start(t, options("nats://"+n.address, w.url, ""))
	r.pushImage("library/app", "v1")
	w.waitFor(t, "push blob", "push manifest")
	n.swallows.Store(true)
	waitForLine(t, logs, "the connection is lost")
	n.swallows.Store(false)
	waitForLine(t, logs, "the connection is there again")
	require.NoError(t, r.shutdown())
}

// With a spill, nothing is lost while the cluster is away, nor if the server ends meanwhile.
func TestSpill(t *testing.T) {
	c, w, logs := cluster(t, nil), newWebhook(t), logged(t)
	spill := ", spill: {dir: " + filepath.Join(t.TempDir(), "spill") + "}"
	first := start(t, options(c.URL(), w.url, spill))
	first.pushImage("library/app", "v1")
	w.waitFor(t, "push blob", "push manifest")
	c.Kill(0)
	waitForLine(t, logs, "the connection is lost")
	first.pushImage("library/app", "v2")
	require.NoError(t, c.Restart(0))
	w.waitFor(t, "push blob", "push manifest", "push blob", "push manifest")

	c.Kill(0)
	first.pushImage("library/app", "v3")
	require.NoError(t, first.shutdown())
	require.NoError(t, c.Restart(0))
	second := start(t, options(c.URL(), w.url, spill))
	w.waitFor(t, "push blob", "push manifest", "push blob", "push manifest", "push blob", "push manifest")
	require.Equal(t, "v3", w.events[5].Target.Tag)
	require.NoError(t, second.shutdown())
	require.Empty(t, lines(logs, "event was lost"))
}

// A server ends, and its clients are served, while the cluster is away.
func TestEndsWithoutCluster(t *testing.T) {
	c, w, logs := cluster(t, nil), newWebhook(t), logged(t)
	r := start(t, "\ndispatchtimeout: 10ms\ndraintimeout: 100ms"+options(c.URL(), w.url, ""))
	r.pushImage("library/app", "v1")
	w.waitFor(t, "push blob", "push manifest")
	c.Kill(0)
	waitForLine(t, logs, "the connection is lost")
	r.pushBlob("library/app", "y")
	require.Equal(t, http.StatusOK, r.do("GET", r.url+"/v2/library/app/manifests/v1", "", "").StatusCode)
	_ = r.shutdown() // what it says depends on what was under way; that nothing runs on, goleak sees
}

// The end of a server does not wait for servers that say nothing.
func TestEndsInSilence(t *testing.T) {
	c := cluster(t, nil)
	n := newNetwork(t, strings.TrimPrefix(c.URL(), "nats://"))
	logs, w := logged(t), newWebhook(t)
	patient := strings.Replace(options("nats://"+n.address, w.url, ""), "lease: 1s", "lease: 1h, timeout: 30m", 1)
	r := start(t, "\ndraintimeout: 10ms"+patient)
	r.pushImage("library/app", "v1")
	w.waitFor(t, "push blob", "push manifest")
	n.swallows.Store(true)
	_ = r.shutdown() // what it says depends on what was under way
	require.Empty(t, lines(logs, "the connection is lost"), "it was closed before anybody could notice")
}

// network passes connections on to an address, or swallows what they bring.
type network struct {
	address  string
	swallows atomic.Bool
}

func newNetwork(t *testing.T, to string) *network {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	n := &network{address: l.Addr().String()}
	var all sync.WaitGroup
	var mu sync.Mutex // guards conns
	var conns []net.Conn
	keep := func(c net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, c)
	}
	all.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", to)
			if err != nil {
				_ = from.Close()
				continue
			}
			keep(from)
			keep(there)
			all.Go(func() { n.pass(from, there) })
			all.Go(func() { n.pass(there, from) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return n
}

func (n *network) pass(from, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		k, err := from.Read(buf)
		if n.swallows.Load() {
			if err != nil {
				return
			}
			continue
		}
		if k > 0 {
			_, _ = to.Write(buf[:k])
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}
