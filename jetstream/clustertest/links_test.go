package clustertest

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// links are proxies of one client's own, one in front of each server.
type links []*Proxy

func newLinks(t *testing.T, c *Cluster) (all links) {
	t.Helper()
	for i := range c.options {
		p, err := NewProxy(strings.TrimPrefix(c.URLOf(i), "nats://"))
		require.NoError(t, err)
		t.Cleanup(p.Close)
		all = append(all, p)
	}
	return all
}

// connect connects through them, and not round them. A silent network is noticed within some
// three seconds.
func (l links) connect(t *testing.T) *nats.Conn {
	t.Helper()
	var urls []string
	for _, p := range l {
		urls = append(urls, "nats://"+p.Addr())
	}
	nc, err := Connect(strings.Join(urls, ","), nats.IgnoreDiscoveredServers(), nats.Timeout(time.Second),
		nats.PingInterval(time.Second), nats.MaxPingsOutstanding(2), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	return nc
}

func (l links) cut(on bool) {
	for _, p := range l {
		p.Cut(on)
	}
}

func (l links) hole(on bool) {
	for _, p := range l {
		p.Hole(on)
	}
}

func (l links) delay(d time.Duration) {
	for _, p := range l {
		p.Delay(d)
	}
}
