package clustertest

import (
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// links are proxies of one client's own, one in front of each server.
type links []*Proxy

func newLinks(c *Cluster) (all links, err error) {
	for i := range c.options {
		p, err := NewProxy(strings.TrimPrefix(c.URLOf(i), "nats://"))
		if err != nil {
			all.close()
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func (l links) close() {
	for _, p := range l {
		p.Close()
	}
}

// connect connects through them, and not round them. A silent network is noticed within some
// three seconds.
func (l links) connect() (*nats.Conn, error) {
	var urls []string
	for _, p := range l {
		urls = append(urls, "nats://"+p.Addr())
	}
	return Connect(strings.Join(urls, ","), nats.IgnoreDiscoveredServers(), nats.Timeout(time.Second),
		nats.PingInterval(time.Second), nats.MaxPingsOutstanding(2), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
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
