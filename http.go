package notifications

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications/internal/outbound"
	"github.com/registry-notifications/notifications/signature"
)

// HTTPConfig is the configuration of an HTTP sink. The zero value has the defaults.
type HTTPConfig struct {
	// Headers are set on every request, in place of what would be there otherwise,
	// Content-Type and User-Agent included. Host is honoured.
	Headers http.Header

	// Timeout bounds one attempt, from dialling to the end of the answer. Zero means
	// 15s.
	Timeout time.Duration

	// MediaType is the Content-Type. Empty means MediaTypeV2; receivers made for
	// distribution 2.x may need MediaTypeV1.
	MediaType string

	// MaxEvents is how many events one envelope has at most. Zero means 1024, which
	// is also the most; 1 is for receivers that read only the first.
	MaxEvents int

	// MaxBytes is how large one envelope gets, as long as it has more than one event.
	// Zero means 1 MiB.
	MaxBytes int

	// SigningKeys sign each request by the Standard Webhooks scheme, each key in turn,
	// so that a receiver can be given a new one before the old one goes: at most eight.
	// Each is a key ("whsec_…" for HMAC-SHA256, "whsk_…" for Ed25519), or says where one
	// is: "file:/path" or "env:NAME". None means that requests are not signed.
	SigningKeys []string

	// TLS is how an https receiver is known, and how it knows us.
	TLS TLS

	// Addresses say where connections may go.
	Addresses Addresses
}

// TLS is the configuration of https. TLS 1.2 (RFC 5246) is the least.
type TLS struct {
	// CAFile has certificates, in PEM, that are trusted beside the system's.
	CAFile string `yaml:"cafile,omitempty" json:"cafile,omitempty"`

	// CertFile and KeyFile have a client certificate and its key, in PEM. They are read
	// again when they change, for the next connection.
	CertFile string `yaml:"certfile,omitempty" json:"certfile,omitempty"`
	KeyFile  string `yaml:"keyfile,omitempty" json:"keyfile,omitempty"`

	// ServerName is the name in the receiver's certificate, where it is not the URL's.
	ServerName string `yaml:"servername,omitempty" json:"servername,omitempty"`

	// InsecureSkipVerify takes any certificate. It is for tests, and warned of.
	InsecureSkipVerify bool `yaml:"insecureskipverify,omitempty" json:"insecureskipverify,omitempty"`
}

// Addresses are lists of networks (CIDR) and IP addresses. What counts is the address
// that is dialled, after DNS. Link-local and cloud metadata addresses are refused
// whatever the lists say.
type Addresses struct {
	// Allow is where connections may go. Empty means everywhere.
	Allow []string `yaml:"allow,omitempty" json:"allow,omitempty"`

	// Deny is where they may not go, even if Allow has it.
	Deny []string `yaml:"deny,omitempty" json:"deny,omitempty"`
}

func (c *HTTPConfig) setDefaults() error {
	if err := notNegative("timeout", c.Timeout); err != nil {
		return err
	}
	if c.Timeout == 0 {
		c.Timeout = 15 * time.Second
	}

	if c.MediaType == "" {
		c.MediaType = MediaTypeV2
	}
	if c.MediaType != MediaTypeV1 && c.MediaType != MediaTypeV2 {
		return wrong("mediatype", "%.100q: allowed are %s and %s", c.MediaType, MediaTypeV2, MediaTypeV1)
	}

	if c.MaxEvents < 0 || c.MaxEvents > maxBlock {
		return wrong("maxevents", "%d: allowed are zero, for the default, to %d", c.MaxEvents, maxBlock)
	}
	if c.MaxEvents == 0 {
		c.MaxEvents = maxBlock
	}
	if c.MaxBytes < 0 {
		return wrong("maxbytes", "%d: allowed are zero, for the default, and above", c.MaxBytes)
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 1 << 20
	}
	return checkHeaders(c.Headers)
}

// httpSink posts one envelope and says in one error what came of it.
type httpSink struct {
	target    *target
	config    *HTTPConfig // behind a pointer: its headers are secrets
	transport *http.Transport
	signer    *signature.Signer // nil: requests are not signed
	account   *account          // told of each attempt; may be nil
	blank     *http.Request     // what all requests have in common; holds secrets
	watchdog  *watchdog
	door      *intake
}

var (
	_ Sink      = (*httpSink)(nil)
	_ Deliverer = (*httpSink)(nil)
)

// NewHTTPSink returns a Sink that posts events to a webhook, once. The error is
// ErrSinkClosed, or a *DeliveryError. Its connections are its own; Close closes them.
func NewHTTPSink(url string, config HTTPConfig) (Sink, error) {
	s, err := newHTTPSink(url, config, nil)
	if err != nil {
		return nil, fmt.Errorf("notifications: http sink: %w", err)
	}
	return s, nil
}

func newHTTPSink(rawURL string, config HTTPConfig, account *account) (*httpSink, error) {
	if err := config.setDefaults(); err != nil {
		return nil, err
	}
	target, err := newTarget(rawURL, config.Headers, config.SigningKeys)
	if err != nil {
		return nil, err
	}
	signer, err := newSigner(config.SigningKeys)
	if err != nil {
		return nil, err
	}
	transport, err := newTransport(&config)
	if err != nil {
		return nil, err
	}
	return &httpSink{
		target: target, config: &config, transport: transport, signer: signer, account: account,
		blank: newBlank(target, config.MediaType),
		watchdog: newWatchdog(config.Timeout,
			fmt.Errorf("timeout after %v: %w", config.Timeout, context.DeadlineExceeded), transport.CloseIdleConnections),
		door: newIntake(),
	}, nil
}

// newSigner loads the keys. Its errors do not show them.
func newSigner(specs []string) (*signature.Signer, error) {
	if len(specs) == 0 {
		return nil, nil
	}
	keys := make([]signature.Key, len(specs))
	for i, spec := range specs {
		key, err := signature.LoadKey(spec)
		if err == nil && !key.CanSign() {
			err = signature.ErrCannotSign
		}
		if err != nil {
			return nil, &ConfigError{Field: fmt.Sprintf("signingkeys[%d]", i), Err: err}
		}
		keys[i] = key
	}
	signer, err := signature.NewSigner(keys...)
	if err != nil {
		return nil, &ConfigError{Field: "signingkeys", Err: err}
	}
	return signer, nil
}

// newTransport returns a transport that shares nothing with the rest of the process,
// and goes nowhere where it may not.
func newTransport(config *HTTPConfig) (*http.Transport, error) {
	policy, err := outbound.NewPolicy(config.Addresses.Allow, config.Addresses.Deny)
	if err != nil {
		return nil, fieldOf("addresses.", err)
	}
	transport, err := outbound.NewTransport(outbound.Config{
		Policy: policy, TLS: outbound.TLS(config.TLS), Timeout: config.Timeout,
		MaxIdleConnsPerHost: maxInFlight, // or those in flight would be dialled anew each time
	})
	if err != nil {
		return nil, fieldOf("", err)
	}
	return transport, nil
}

func fieldOf(prefix string, err error) error {
	if f := (*outbound.FieldError)(nil); errors.As(err, &f) {
		return &ConfigError{Field: prefix + f.Field, Err: f.Err}
	}
	return err
}

// warn says once what an operator should know of how this sink connects.
func (s *httpSink) warn(log *logrus.Entry) {
	if s.config.TLS.InsecureSkipVerify {
		log.Warn("notifications: insecureskipverify is set: anybody on the way can read and answer for the receiver")
	}
	proxy, err := outbound.ProxyFor(s.transport, s.target.url)
	switch {
	case err != nil:
		log.WithError(err).Warn("notifications: which proxy to use cannot be found out")
	case proxy != "":
		log.WithField("proxy", proxy).Warn("notifications: deliveries go through a proxy: which addresses are allowed is checked for the proxy, not for the receiver")
	}
}

func (s *httpSink) Write(ctx context.Context, events ...*Event) error {
	if err := validate(events); err != nil {
		return err
	}
	if len(events) == 0 {
		return s.door.run(ctx, func(context.Context) error { return nil })
	}
	_, err := deliverAll(ctx, s, events)
	return err
}

func (s *httpSink) Deliver(ctx context.Context, events ...*Event) (int, error) {
	return deliverValid(ctx, s, events)
}

// deliver posts one envelope with as many of the events as fit.
func (s *httpSink) deliver(ctx context.Context, events []*Event) (out outcome, err error) {
	err = s.door.run(ctx, func(ctx context.Context) error {
		if len(events) == 0 {
			return nil
		}
		p, err := newParcel(events, s.config.MaxEvents, s.config.MaxBytes)
		if err != nil {
			// It can never be sent: no receiver has to refuse it first.
			return &DeliveryError{Kind: Refused, Events: 1, Err: err}
		}
		if err := s.post(ctx, events[:p.events], p); err != nil {
			if failed := (*DeliveryError)(nil); errors.As(err, &failed) {
				failed.Events = p.events
			}
			return err
		}
		out.delivered = p.events
		return nil
	})
	return out, err
}

// post makes one attempt. It uses the transport and no client: what a client adds,
// following redirects, is not wanted here.
func (s *httpSink) post(ctx context.Context, events []*Event, p *parcel) error {
	timed, attempt := s.watchdog.begin(ctx)
	defer attempt.end()
	r := s.blank.WithContext(timed)
	if err := s.sign(r, events, p); err != nil {
		return err
	}
	p.into(r)
	resp, err := s.transport.RoundTrip(r)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx) // it was us, not the receiver
		}
		s.attempted(0)
		return &DeliveryError{Kind: kindOf(err), Err: s.target.clean(err)}
	}
	defer resp.Body.Close()
	s.attempted(resp.StatusCode)

	// What is read to its end leaves a connection that can be used again; an endless
	// body is not worth one.
	var answer bytes.Buffer
	body := io.LimitReader(resp.Body, maxAnswer)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		body = http.NoBody // this one is a raw connection, which knows of no time-out
	}
	if resp.StatusCode/100 != 2 {
		_, _ = io.CopyN(&answer, body, maxReadAnswer)
	}
	_, _ = io.Copy(io.Discard, body)

	if resp.StatusCode/100 == 2 {
		return nil
	}
	return &DeliveryError{
		Kind:       kindOfStatus(resp.StatusCode),
		Status:     resp.StatusCode,
		RetryAfter: retryAfter(resp, time.Now()),
		Answer:     s.target.printable(s.target.whole(answer.String())),
	}
}

// maxAnswer is how much of an answer's body is read, maxReadAnswer how much of it is
// kept at first, and maxShownAnswer how much is shown, in bytes.
const (
	maxAnswer      = 64 << 10
	maxReadAnswer  = 16 << 10
	maxShownAnswer = 512
)

// newBlank returns what all requests have in common.
func newBlank(t *target, mediaType string) *http.Request {
	r := &http.Request{Method: http.MethodPost, URL: t.url, Host: t.host, Header: make(http.Header, len(t.headers)+2)}
	r.Header["Content-Type"] = []string{mediaType}
	for name, values := range t.headers {
		r.Header[name] = values
	}
	// A POST is not repeated on a connection that broke, unless it says that this is
	// harmless. It is: receivers deduplicate. The empty key sends no header.
	if r.Header["Idempotency-Key"] == nil {
		r.Header["Idempotency-Key"] = nil
	}
	return r
}

// sign signs one attempt. The id follows from the events, so that each attempt on the
// same envelope has the same.
func (s *httpSink) sign(r *http.Request, events []*Event, p *parcel) error {
	if s.signer == nil {
		return nil
	}
	var id signature.EnvelopeHash
	for _, e := range events {
		id.Add(e.read().ID)
	}
	r.Header = r.Header.Clone()
	return s.signer.Sign(r.Header, id.ID(), time.Now(), p.bytes())
}

func (s *httpSink) attempted(status int) {
	if s.account != nil {
		s.account.attempted(status)
	}
}

func (s *httpSink) Close(ctx context.Context) error {
	return s.door.close(ctx, func(context.Context) error {
		s.watchdog.stop()
		s.transport.CloseIdleConnections()
		return nil
	})
}

func (s *httpSink) maxEvents() int { return s.config.MaxEvents }
