package main

import (
	"errors"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/registry-notifications/notifications/jetstream/clustertest"
)

// link is one instance's way to the cluster, which can be cut.
type link struct {
	conn    *nats.Conn
	proxies []*clustertest.Proxy // in front of each server
}

func newLink(cluster *clustertest.Cluster, name string) (*link, error) {
	l := new(link)
	var urls []string
	for i := range servers {
		p, err := clustertest.NewProxy(strings.TrimPrefix(cluster.URLOf(i), "nats://"))
		if err != nil {
			l.close()
			return nil, err
		}
		l.proxies = append(l.proxies, p)
		urls = append(urls, "nats://"+p.Addr())
	}
	// What the servers say of each other would lead round the proxies.
	conn, err := clustertest.Connect(strings.Join(urls, ","), nats.IgnoreDiscoveredServers(), nats.Name(name))
	if err != nil {
		l.close()
		return nil, errors.Join(errors.New(name), err)
	}
	l.conn = conn
	return l, nil
}

// cut resets what is open and lets nothing through, or lets it through again.
func (l *link) cut(cut bool) {
	for _, p := range l.proxies {
		p.Cut(cut)
	}
}

func (l *link) close() {
	if l.conn != nil {
		l.conn.Close()
	}
	for _, p := range l.proxies {
		p.Close()
	}
}
