package outbound

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// receiver counts the connections that reach it.
type receiver struct {
	*httptest.Server
	port  string
	conns atomic.Int32
	seen  atomic.Pointer[http.Request]
}

func newReceiver(t *testing.T, address string) *receiver {
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skip(err)
	}
	r := &receiver{}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { r.seen.Store(req) }))
	r.Listener.Close()
	r.Listener = l
	r.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			r.conns.Add(1)
		}
	}
	r.Start()
	t.Cleanup(r.Close)
	_, r.port, _ = net.SplitHostPort(l.Addr().String())
	return r
}

func TestDial(t *testing.T) {
	for _, c := range []struct {
		name        string
		listen      string
		allow, deny []string
		host        string
		blocked     string // empty: it goes through
	}{
		{name: "default", host: "127.0.0.1"},
		{name: "default, mapped", host: "[::ffff:127.0.0.1]"},
		{name: "default, IPv6", listen: "[::1]:0", host: "[::1]"},
		{name: "allowed", allow: []string{"127.0.0.1"}, host: "127.0.0.1"},
		{name: "allowed by another family", allow: []string{"::ffff:127.0.0.0/104"}, host: "127.0.0.1"},
		{name: "not allowed", allow: []string{"10.0.0.0/8"}, host: "127.0.0.1", blocked: "127.0.0.1"},
		{name: "denied", deny: []string{"127.0.0.0/8"}, host: "127.0.0.1", blocked: "127.0.0.1"},
		{name: "denied, mapped", deny: []string{"127.0.0.0/8"}, host: "[::ffff:127.0.0.1]", blocked: "127.0.0.1"},
		{name: "denied, IPv6", listen: "[::1]:0", deny: []string{"::1"}, host: "[::1]", blocked: "::1"},
		{name: "denied, and allowed", allow: []string{"127.0.0.1"}, deny: []string{"127.0.0.0/8"}, host: "127.0.0.1", blocked: "127.0.0.1"},
		// All of these would reach this machine, or would be tried.
		{name: "unspecified", host: "0.0.0.0", blocked: "0.0.0.0"},
		{name: "unspecified, IPv6", host: "[::]", blocked: "::"},
		{name: "metadata", host: "169.254.169.254", blocked: "169.254.169.254"},
		{name: "metadata, mapped", host: "[::ffff:a9fe:a9fe]", blocked: "169.254.169.254"},
		{name: "metadata, IPv6", host: "[fd00:ec2::254]", blocked: "fd00:ec2::254"},
		{name: "metadata by NAT64", host: "[64:ff9b::a9fe:a9fe]", blocked: "64:ff9b::a9fe:a9fe"},
		{name: "metadata by local NAT64", host: "[64:ff9b:1:a9fe:a9:fe00::]", blocked: "64:ff9b:1:a9fe:a9:fe00::"},
		{name: "metadata by 6to4", host: "[2002:a9fe:a9fe::1]", blocked: "2002:a9fe:a9fe::1"},
		{name: "zone", host: "[fe80::1%25lo]", blocked: "fe80::1%lo"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.listen == "" {
				c.listen = "127.0.0.1:0"
			}
			if strings.Contains(c.host, "::") && !strings.Contains(c.host, "ffff:") {
				newReceiver(t, "[::1]:0") // or skip: without IPv6 there is no socket to be judged
			}
			r := newReceiver(t, c.listen)
			policy, err := NewPolicy(c.allow, c.deny)
			require.NoError(t, err)
			tr := transport(t, Config{Policy: policy}, seams{})

			err = get(t, tr, "http://"+c.host+":"+r.port+"/")
			if c.blocked == "" {
				require.NoError(t, err)
				assert.EqualValues(t, 1, r.conns.Load())
				return
			}
			var (
				blocked *BlockedError
				op      *net.OpError
				u       *url.Error
			)
			require.ErrorAs(t, err, &blocked)
			require.ErrorAs(t, err, &op)
			require.ErrorAs(t, err, &u)
			assert.Equal(t, c.blocked, blocked.Addr.String())
			assert.Zero(t, r.conns.Load(), "it was called")
		})
	}
}

// TestRebinding: a name that was harmless yesterday stands for the metadata today.
func TestRebinding(t *testing.T) {
	r := newReceiver(t, "127.0.0.1:0")
	names := newNameServer(t, []string{"127.0.0.1"}, []string{"169.254.169.254"})
	tr := transport(t, Config{}, seams{resolver: names.resolver()})
	url := "http://rebind.test:" + r.port + "/"

	require.NoError(t, get(t, tr, url))
	tr.CloseIdleConnections()

	var blocked *BlockedError
	require.ErrorAs(t, get(t, tr, url), &blocked)
	assert.Equal(t, netip.MustParseAddr("169.254.169.254"), blocked.Addr)
	assert.EqualValues(t, 2, names.asked.Load())
	assert.EqualValues(t, 1, r.conns.Load())
}

// TestEachAddressOfAName: one address that may be called does not take the others
// with it, and one that may not does not stand in the way.
func TestEachAddressOfAName(t *testing.T) {
	r := newReceiver(t, "127.0.0.1:0")
	policy, err := NewPolicy(nil, []string{"127.0.0.2"})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		answer  []string
		blocked bool
	}{
		"one of two": {answer: []string{"127.0.0.2", "127.0.0.1"}},
		"none":       {answer: []string{"127.0.0.2", "169.254.169.254"}, blocked: true},
	} {
		t.Run(name, func(t *testing.T) {
			names := newNameServer(t, c.answer)
			tr := transport(t, Config{Policy: policy}, seams{resolver: names.resolver()})
			err := get(t, tr, "http://two.test:"+r.port+"/")
			if !c.blocked {
				require.NoError(t, err)
				return
			}
			var blocked *BlockedError
			require.ErrorAs(t, err, &blocked)
		})
	}
}

func TestTransportDefaults(t *testing.T) {
	tr, err := NewTransport(Config{})
	require.NoError(t, err)
	assert.Equal(t, 15*time.Second, tr.TLSHandshakeTimeout)
	assert.Equal(t, 16, tr.MaxIdleConnsPerHost)
	assert.EqualValues(t, 64<<10, tr.MaxResponseHeaderBytes)
	assert.True(t, tr.ForceAttemptHTTP2)

	tr, err = NewTransport(Config{Timeout: time.Second, MaxIdleConnsPerHost: 3})
	require.NoError(t, err)
	assert.Equal(t, time.Second, tr.TLSHandshakeTimeout)
	assert.Equal(t, 3, tr.MaxIdleConnsPerHost)
}

func TestTransportErrors(t *testing.T) {
	for field, config := range map[string]Config{
		"timeout":             {Timeout: -1},
		"maxidleconnsperhost": {MaxIdleConnsPerHost: -1},
		"tls.cafile":          {TLS: TLS{CAFile: "/nonexistent"}},
	} {
		tr, err := NewTransport(config)
		assert.Nil(t, tr)
		var f *FieldError
		require.ErrorAs(t, err, &f)
		assert.Equal(t, field, f.Field)
		assert.ErrorContains(t, err, "allowed")
	}
}

// TestEndlessHeader: the answer's header is cut off.
func TestEndlessHeader(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Large", strings.Repeat("x", 80<<10))
	}))
	defer s.Close()
	assert.ErrorContains(t, get(t, transport(t, Config{}, seams{}), s.URL), "header")
}

func TestProxyFromEnvironment(t *testing.T) {
	tr, err := NewTransport(Config{})
	require.NoError(t, err)
	for raw, want := range map[string]string{
		"http://receiver.example/hook": "http://127.0.0.1:9",
		"http://receiver.test/hook":    "", // NO_PROXY
		"http://127.0.0.1/hook":        "", // never proxied
	} {
		u, err := url.Parse(raw)
		require.NoError(t, err)
		proxy, err := ProxyFor(tr, u)
		require.NoError(t, err)
		assert.Equal(t, want, proxy, raw)
	}
}

// TestProxyError: what net/http says of a proxy that cannot be used may show its
// password.
func TestProxyError(t *testing.T) {
	tr := transport(t, Config{}, seams{proxy: func(*http.Request) (*url.URL, error) {
		return nil, errors.New(`invalid proxy address "http://user:hush@["`)
	}})
	_, err := ProxyFor(tr, &url.URL{Scheme: "http", Host: "receiver.example"})
	require.ErrorIs(t, err, errProxy)
	err = get(t, tr, "http://receiver.example/hook")
	require.ErrorIs(t, err, errProxy)
	assert.NotContains(t, err.Error(), "hush")
}

func TestProxy(t *testing.T) {
	proxy := newReceiver(t, "127.0.0.1:0")
	through := func(*http.Request) (*url.URL, error) { return url.Parse("http://user:hush@127.0.0.1:" + proxy.port) }

	tr := transport(t, Config{}, seams{proxy: through})
	// The receiver's name is the proxy's to look up: there is no such name here.
	require.NoError(t, get(t, tr, "http://receiver.example/hook"))
	assert.Equal(t, "receiver.example", proxy.seen.Load().Host)
	shown, err := ProxyFor(tr, &url.URL{Scheme: "http", Host: "receiver.example"})
	require.NoError(t, err)
	assert.Equal(t, "http://127.0.0.1:"+proxy.port, shown)

	before := proxy.conns.Load()
	for _, host := range []string{"169.254.169.254", "169.254.169.254.", "[fd00:ec2::254]", "[::ffff:169.254.169.254]:80", "[fe80::1%25eth0]"} {
		for _, scheme := range []string{"http", "https"} {
			var blocked *BlockedError
			assert.ErrorAs(t, get(t, tr, scheme+"://"+host+"/"), &blocked, host)
		}
	}

	policy, err := NewPolicy(nil, []string{"127.0.0.0/8"})
	require.NoError(t, err)
	tr = transport(t, Config{Policy: policy}, seams{proxy: through})
	for _, scheme := range []string{"http", "https"} {
		var blocked *BlockedError
		err = get(t, tr, scheme+"://receiver.example/hook")
		require.ErrorAs(t, err, &blocked, "the proxy's own address")
		assert.Equal(t, "127.0.0.1", blocked.Addr.String())
		assert.NotContains(t, err.Error(), "hush")
	}
	assert.Equal(t, before, proxy.conns.Load())
}

func TestNoProxy(t *testing.T) {
	shown, err := ProxyFor(transport(t, Config{}, seams{}), &url.URL{Scheme: "http", Host: "receiver.example"})
	require.NoError(t, err)
	assert.Empty(t, shown)
}

// TestPrintsNoKey: whoever prints a transport sees no proxy's password and no key.
func TestPrintsNoKey(t *testing.T) {
	tr := transport(t, Config{TLS: clientFiles(t, systemCA)}, seams{})
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		assert.NotContains(t, fmt.Sprintf(verb, tr), "hush")
		assert.NotContains(t, fmt.Sprintf(verb, tr.TLSClientConfig), "PrivateKey:(*ecdsa")
	}
}
