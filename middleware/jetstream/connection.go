package jetstream

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/sirupsen/logrus"
)

const (
	// connectTimeout bounds the first answer of each server.
	connectTimeout = 5 * time.Second

	// pingInterval is how often a silent server is asked whether it is there, at least. The
	// third question finds the connection dead: with a fifth of a lease between them, before
	// the lease ends.
	pingInterval = 2 * time.Second

	// reconnectWait is how long all servers are left alone that have been tried in vain, and
	// how much longer at most: instances that lost their server at once come back one by one.
	reconnectWait = 500 * time.Millisecond
)

// connection is one to the servers, for ever. Its secrets are behind a pointer, where %+v
// does not follow.
type connection struct {
	*nats.Conn
	closed chan struct{} // when its handlers have ended
}

// connect connects to the first server that takes it. A registry whose servers cannot be
// reached when it starts does not start: what is wrong in the YAML would look the same.
func (o *options) connect(log *logrus.Entry) (*connection, error) {
	if err := o.checkServers(); err != nil {
		return nil, err
	}
	c := &connection{closed: make(chan struct{})}
	to := nats.GetDefaultOptions()
	to.Servers = o.Servers
	to.Name = "notifications " + cmp.Or(o.Instance, hostname())
	to.Timeout = connectTimeout
	to.PingInterval, to.MaxPingsOut = pingInterval, 2
	if o.Lease > 0 {
		to.PingInterval = max(100*time.Millisecond, min(pingInterval, o.Lease/5))
	}
	to.ReconnectWait, to.ReconnectJitter, to.ReconnectJitterTLS = reconnectWait, reconnectWait, reconnectWait
	to.MaxReconnect = -1
	to.ReconnectBufSize = -1        // or what is written would wait where nobody counts it
	to.IgnoreAuthErrorAbort = true  // or a password that changes ends the connection for good
	to.RetryOnFailedConnect = false // see above
	if err := o.authenticate(&to); err != nil {
		return nil, err
	}
	if err := o.TLS.apply(&to); err != nil {
		return nil, err
	}
	handle(&to, log)
	to.ClosedCB = func(*nats.Conn) { close(c.closed) }

	var err error
	if c.Conn, err = to.Connect(); err != nil {
		return nil, o.notConnected(err)
	}
	return c, nil
}

// notConnected says of an error which option it comes from.
func (o *options) notConnected(err error) error {
	for _, refused := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
		if errors.Is(err, refused) {
			return fmt.Errorf("connecting to %s: %w: allowed is what the servers know: user and password, token, credentials, nkey, or a certificate", o.shownServers(), err)
		}
	}
	return wrong("servers", "connecting to %s: %w", o.shownServers(), err)
}

// Close returns when nothing of it runs any more.
func (c *connection) Close() {
	c.Conn.Close()
	<-c.closed
}

const allowedServer = "allowed is nats:// or tls://, and a host, as nats://10.0.0.7:4222"

func (o *options) checkServers() error {
	if len(o.Servers) == 0 {
		return wrong("servers", "empty: allowed is a list of URLs, at least one")
	}
	for i, s := range o.Servers {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "nats" && u.Scheme != "tls" || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
			return wrong(fmt.Sprintf("servers[%d]", i), "%s: "+allowedServer, shownServer(s))
		}
	}
	return nil
}

// shownServer returns a server's URL as it may be shown. Where a slash or the like stands in a
// password, pieces of it are taken for other parts of the URL, so nothing is shown of one with
// an @ in the wrong place.
func shownServer(s string) string {
	u, err := url.Parse(s)
	switch {
	case err == nil && u.Host != "" && strings.Contains(u.Path+u.RawQuery+u.Fragment, "@"):
		return "[redacted]"
	case err == nil && u.Host != "":
		return u.Scheme + "://" + u.Host + u.Path
	case strings.ContainsAny(s, "@?#"):
		return "[redacted]"
	}
	return fmt.Sprintf("%.*q", mostShown, s)
}

func (o *options) shownServers() string {
	var shown []string
	for _, s := range o.Servers {
		shown = append(shown, shownServer(s))
	}
	return strings.Join(shown, ", ")
}

// hostname is what others see of this server in the cluster's list of connections.
func hostname() string {
	host, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return host
}

// mostReasons bounds how many different lines there are from one connection to the next: the
// text of an error may have what is new each time, as a port.
const mostReasons = 8

// handle has the connection log when it is lost, why it does not come back, and when it does.
// All handlers of a connection run one after the other.
func handle(to *nats.Options, log *logrus.Entry) {
	var since time.Time
	reasons := make(map[string]bool)
	once := func(err error, message string) {
		if reason := message + err.Error(); !reasons[reason] && len(reasons) < mostReasons {
			reasons[reason] = true
			log.WithError(err).Warn(message)
		}
	}
	to.DisconnectedErrCB = func(c *nats.Conn, err error) {
		if c.IsClosed() {
			return
		}
		since = time.Now()
		log.WithError(err).Warn("jetstream: the connection is lost; servers are tried until one is there")
	}
	to.ReconnectErrCB = func(_ *nats.Conn, err error) {
		once(err, "jetstream: a server cannot be connected to")
	}
	to.ReconnectedCB = func(c *nats.Conn) {
		clear(reasons)
		// Its address: in the URL, a token would be shown.
		log.WithField("server", c.ConnectedAddr()).WithField("after", time.Since(since).Round(time.Millisecond)).Info("jetstream: the connection is there again")
	}
	// What a server refuses, the connection itself included. Without a handler, the client
	// writes it to the standard error.
	to.AsyncErrorCB = func(_ *nats.Conn, _ *nats.Subscription, err error) {
		once(err, "jetstream: a server refuses something")
	}
}
