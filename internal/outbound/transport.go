package outbound

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Config is the configuration of a transport. The zero value has the defaults.
type Config struct {
	// Policy judges each address that is dialled. Nil means the default policy.
	Policy *Policy

	// TLS is how TLS is done.
	TLS TLS

	// Timeout bounds the steps to a connection: to connect, and to shake hands. Zero means
	// 15s. An attempt as a whole is bounded by its request's context.
	Timeout time.Duration

	// MaxIdleConnsPerHost is how many connections are kept for later. Zero means 16.
	MaxIdleConnsPerHost int
}

func (c *Config) setDefaults() error {
	if c.Timeout < 0 {
		return wrong("timeout", "%v: allowed are zero, for the default, and above", c.Timeout)
	}
	if c.Timeout == 0 {
		c.Timeout = 15 * time.Second
	}
	if c.MaxIdleConnsPerHost < 0 {
		return wrong("maxidleconnsperhost", "%d: allowed are zero, for the default, and above", c.MaxIdleConnsPerHost)
	}
	if c.MaxIdleConnsPerHost == 0 {
		c.MaxIdleConnsPerHost = 16
	}
	return nil
}

// seams are what a test puts in place of the system's.
type seams struct {
	resolver *net.Resolver
	proxy    func(*http.Request) (*url.URL, error)
}

// NewTransport returns a transport with connections of its own, which the caller
// closes with CloseIdleConnections. It goes through the proxy that the environment
// names, if any: see ProxyFor. The error is a *FieldError.
func NewTransport(config Config) (*http.Transport, error) {
	return newTransport(config, seams{proxy: http.ProxyFromEnvironment})
}

func newTransport(config Config, seams seams) (*http.Transport, error) {
	if err := config.setDefaults(); err != nil {
		return nil, err
	}
	tlsConfig, err := config.TLS.Config()
	if err != nil {
		if field := (*FieldError)(nil); errors.As(err, &field) {
			err = &FieldError{Field: "tls." + field.Field, Err: field.Err}
		}
		return nil, err
	}
	dialer := &net.Dialer{
		Timeout:        config.Timeout,
		KeepAlive:      30 * time.Second,
		Resolver:       seams.resolver,
		ControlContext: config.Policy.ControlContext,
	}
	return &http.Transport{
		Proxy:               proxyFunc(config.Policy, seams.proxy),
		DialContext:         dial(dialer),
		TLSClientConfig:     tlsConfig,
		TLSHandshakeTimeout: config.Timeout,
		ForceAttemptHTTP2:   true, // a dialer of one's own turns it off otherwise
		MaxIdleConnsPerHost: config.MaxIdleConnsPerHost,
		DisableCompression:  true, // answers are small, and nearly all of them not read
		// IdleConnTimeout is the caller's: it costs a timer for each request.
		// An endless header is as bad as an endless body.
		MaxResponseHeaderBytes: 64 << 10,
	}, nil
}

// errProxy is in place of net/http's error, which may show the proxy's password.
var errProxy = errors.New("the proxy that the environment names cannot be used")

// proxyFunc is a transport's Proxy. What goes through a proxy is looked up by the
// proxy, so the dialer sees no more than the proxy's own address. A receiver that is
// given by its address can still be judged, here.
func proxyFunc(policy *Policy, proxy func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	if proxy == nil {
		return nil
	}
	return func(r *http.Request) (*url.URL, error) {
		u, err := proxy(r)
		if err != nil {
			return nil, errProxy
		}
		if u == nil {
			return nil, nil
		}
		if addr, err := netip.ParseAddr(strings.TrimSuffix(r.URL.Hostname(), ".")); err == nil {
			if err := policy.Check(addr); err != nil {
				return nil, err
			}
		}
		return u, nil
	}
}

// ProxyFor returns the proxy through which t sends requests for u, without user and
// password, or "" if there is none. Where there is one, the policy sees the proxy's
// address and not that of the receiver, unless u has it in figures: an operator
// should be told once.
func ProxyFor(t *http.Transport, u *url.URL) (string, error) {
	if t.Proxy == nil {
		return "", nil
	}
	proxy, err := t.Proxy(&http.Request{URL: u})
	if err != nil || proxy == nil {
		return "", err
	}
	return (&url.URL{Scheme: proxy.Scheme, Host: proxy.Host}).String(), nil
}
