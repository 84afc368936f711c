// Package clustertest runs JetStream servers in a test's own process, on loopback, and has
// them fail.
package clustertest

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Cluster is some servers.
type Cluster struct {
	dir     string
	options []*server.Options
	servers []*server.Server // nil: is not running
	routes  [][]*Proxy       // from one server to another
	nowhere *Proxy           // where servers are told by others that one is, or there would be other ways
}

// Start starts so many servers, one or three, and waits until they are a cluster. The
// directory is removed by Stop.
func Start(n int, change func(*server.Options)) (*Cluster, error) {
	c, err := start(n, change)
	if errors.Is(err, errNotReady) { // an election that does not come to an end is rare
		c.Stop()
		c, err = start(n, change)
	}
	if err != nil && c != nil {
		c.Stop()
		return nil, err
	}
	return c, err
}

var errNotReady = errors.New("clustertest: the servers are no cluster after 20s")

func start(n int, change func(*server.Options)) (c *Cluster, err error) {
	c = new(Cluster)
	if c.dir, err = os.MkdirTemp("", "clustertest"); err != nil {
		return c, err
	}
	if c.nowhere, err = NewProxy("127.0.0.1:0"); err != nil {
		return c, err
	}
	c.nowhere.Cut(true)
	var ports []int
	for range n {
		port, err := freePort()
		if err != nil {
			return c, err
		}
		ports, c.routes = append(ports, port), append(c.routes, make([]*Proxy, n))
	}
	for i := range n {
		port, err := freePort() // a server that comes back has its old one
		if err != nil {
			return c, err
		}
		o := &server.Options{
			ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true,
			JetStream: true, StoreDir: filepath.Join(c.dir, fmt.Sprintf("n%d", i)),
		}
		if n > 1 {
			o.Cluster = server.ClusterOpts{Name: "clustertest", Host: "127.0.0.1", Port: ports[i], Advertise: c.nowhere.Addr()}
			for j, port := range ports {
				if j == i {
					continue
				}
				p, err := NewProxy(fmt.Sprintf("127.0.0.1:%d", port))
				if err != nil {
					return c, err
				}
				c.routes[i][j] = p
				o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: p.Addr()})
			}
		}
		if change != nil {
			change(o)
		}
		c.options, c.servers = append(c.options, o), append(c.servers, nil)
	}
	for i := range n {
		if err := c.Restart(i); err != nil {
			return c, err
		}
	}
	if !c.waitFor(20*time.Second, c.isReady) {
		return c, errNotReady
	}
	return c, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (c *Cluster) waitFor(most time.Duration, ok func() bool) bool {
	for end := time.Now().Add(most); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// isReady says whether all servers know each other and who leads.
func (c *Cluster) isReady() bool {
	leaders := 0
	for _, s := range c.servers {
		switch {
		case s == nil || !s.ReadyForConnections(time.Millisecond):
			return false
		case len(c.servers) == 1:
			return true
		case s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == len(c.servers):
			leaders++
		case !s.JetStreamIsCurrent():
			return false
		}
	}
	return leaders == 1
}

// Restart starts a server again, where it was.
func (c *Cluster) Restart(i int) error {
	s, err := server.NewServer(c.options[i].Clone())
	if err != nil {
		return err
	}
	c.Isolate(i, false)
	c.servers[i] = s
	s.Start()
	return nil
}

// Isolate cuts a server off from the others, or not any more. Its clients still reach it.
func (c *Cluster) Isolate(i int, isolated bool) {
	for j := range c.routes {
		for _, p := range []*Proxy{c.routes[i][j], c.routes[j][i]} {
			if p != nil {
				p.Cut(isolated)
			}
		}
	}
}

// Kill ends a server without a good-bye to the others.
func (c *Cluster) Kill(i int) {
	if c.servers[i] == nil {
		return
	}
	c.Isolate(i, true)
	c.servers[i].Shutdown()
	c.servers[i].WaitForShutdown()
	c.servers[i] = nil
}

// Leader returns which server leads a stream, or -1 if none does.
func (c *Cluster) Leader(stream string) int {
	for i, s := range c.servers {
		if s != nil && s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
			return i
		}
	}
	return -1
}

// Follower returns a server that runs and does not lead a stream, or -1 if there is none.
func (c *Cluster) Follower(stream string) int {
	leader := c.Leader(stream)
	for i, s := range c.servers {
		if s != nil && i != leader {
			return i
		}
	}
	return -1
}

// Wait waits until all servers run and are a cluster.
func (c *Cluster) Wait() error {
	if !c.waitFor(time.Minute, c.isReady) {
		return errors.New("clustertest: the servers are no cluster after 1m")
	}
	return nil
}

// Change changes what a server is started with the next time.
func (c *Cluster) Change(i int, change func(*server.Options)) { change(c.options[i]) }

// StepDown has the leader of a stream make room for another.
func (c *Cluster) StepDown(stream string) error {
	i := c.Leader(stream)
	if i < 0 {
		return errors.New("clustertest: no leader")
	}
	return c.servers[i].JetStreamStepdownStream(server.DEFAULT_GLOBAL_ACCOUNT, stream)
}

// ackFloor returns up to where a consumer is acknowledged, as one of the servers has stored it.
func (c *Cluster) ackFloor(i int, stream, consumer string) (position uint64) {
	if c.servers[i] == nil {
		return 0
	}
	info, err := c.servers[i].Jsz(&server.JSzOptions{Account: server.DEFAULT_GLOBAL_ACCOUNT, Accounts: true, Streams: true, Consumer: true})
	if err != nil {
		return 0
	}
	for _, a := range info.AccountDetails {
		for _, s := range a.Streams {
			for _, o := range s.Consumer {
				if s.Name == stream && o.Name == consumer {
					return o.AckFloor.Stream
				}
			}
		}
	}
	return 0
}

// URL returns where clients connect to.
func (c *Cluster) URL() string {
	var all []string
	for i := range c.options {
		all = append(all, c.URLOf(i))
	}
	return strings.Join(all, ",")
}

// URLOf returns where clients connect to one of the servers.
func (c *Cluster) URLOf(i int) string {
	return fmt.Sprintf("nats://127.0.0.1:%d", c.options[i].Port)
}

// Connect connects a client as a hub wants it.
func Connect(urls string, more ...nats.Option) (*nats.Conn, error) {
	return nats.Connect(urls, append([]nats.Option{
		nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.ReconnectWait(50 * time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, more...)...)
}

// Stop ends all servers, and removes what they have stored.
func (c *Cluster) Stop() {
	for _, s := range c.servers {
		if s != nil {
			s.Shutdown()
		}
	}
	for i, s := range c.servers {
		if s != nil {
			s.WaitForShutdown()
		}
		c.servers[i] = nil
	}
	for _, to := range append(c.routes, []*Proxy{c.nowhere}) {
		for _, p := range to {
			if p != nil {
				p.Close()
			}
		}
	}
	_ = os.RemoveAll(c.dir)
}
