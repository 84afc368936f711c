package notifications

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications/internal/downloads"
)

// ErrDispatchTimeout is the cause of a Write that a bridge gave up, so that the
// client would not have to wait for it.
var ErrDispatchTimeout = errors.New("notifications: sink did not take the event in time")

// RejectedError is returned for an event that the sink did not take. It is lost.
type RejectedError struct {
	Event *Event
	Err   error
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("notifications: %s of %s in %q not taken: %v", e.Event.Action, e.Event.Target.Type, e.Event.Target.Repository, e.Err)
}

func (e *RejectedError) Unwrap() error { return e.Err }

// BridgeConfig is the configuration of a Bridge. The zero value works.
type BridgeConfig struct {
	// Source says where the events come from: see NewSource.
	Source SourceRecord

	// URLs makes the URLs of the events. Nil means that they are made from the host
	// that the client itself used.
	URLs URLBuilder

	// IncludeReferences puts the references of a manifest into its events.
	IncludeReferences bool

	// DispatchTimeout is how long a client may be made to wait for the sink to take
	// an event: the sink's context ends then. Zero means 1s.
	DispatchTimeout time.Duration

	// TrustedProxies is how many proxies stand between the clients and this server.
	// The client's address, the host and the scheme are taken from what the farthest
	// of them wrote into X-Forwarded-For, -Host and -Proto. Zero trusts none.
	TrustedProxies int

	// TrustBasicUser takes the user name of basic authentication for the actor where
	// the server names none. It is right only if something in front has checked it.
	TrustBasicUser bool

	// CountHEAD takes a HEAD for a pull, as distribution's own package does.
	CountHEAD bool

	// Logger is used where a call's context has none. Nil means logrus's standard
	// logger.
	Logger *logrus.Entry
}

// Validate returns a *ConfigError for what a bridge cannot have.
func (c *BridgeConfig) Validate() error {
	if err := notNegative("dispatchtimeout", c.DispatchTimeout); err != nil {
		return fmt.Errorf("notifications: bridge: %w", err)
	}
	if c.TrustedProxies < 0 {
		return fmt.Errorf("notifications: bridge: %w", wrong("trustedproxies", "%d: allowed are zero and above", c.TrustedProxies))
	}
	return nil
}

// Bridge is a Listener that makes an Event of each call and writes it to a Sink. One
// bridge serves all requests: actor and request come from the context of the call.
//
// A bridge never makes a client wait longer than DispatchTimeout, as long as the sink
// listens to its context, which every hub does; and it never fails one. An event that is
// not taken by then is lost: it is returned as a *RejectedError, counted, and by Listen's
// decorators logged. The sink gets no cancelled context because a client left.
type Bridge struct {
	sink     Sink
	config   BridgeConfig
	rejected atomic.Uint64

	downloads *downloads.Tracker
}

var _ Listener = (*Bridge)(nil)

// NewBridge returns a bridge to sink, which stays the caller's to close.
func NewBridge(sink Sink, config BridgeConfig) (*Bridge, error) {
	if sink == nil {
		return nil, errors.New("notifications: bridge: sink: nil")
	}
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if config.DispatchTimeout == 0 {
		config.DispatchTimeout = time.Second
	}
	config.Logger = orStandardLogger(config.Logger)
	published.publishRejected()
	b := &Bridge{sink: sink, config: config}
	b.downloads = downloads.New(b.ClientAddr)
	return b, nil
}

// ClientAddr returns where a request comes from, as the bridge's events say it: by what a
// trusted proxy has written, or else r.RemoteAddr. It has a port if that is known.
func (b *Bridge) ClientAddr(r *http.Request) string {
	return proxies(b.config.TrustedProxies).addr(r)
}

// Rejected returns how many events the sink did not take.
func (b *Bridge) Rejected() uint64 { return b.rejected.Load() }

// ManifestPushed writes a push of a manifest.
func (b *Bridge) ManifestPushed(ctx context.Context, repo reference.Named, dgst digest.Digest, m distribution.Manifest, tag string) error {
	return b.manifest(ctx, callOf(ctx, repo), ActionPush, dgst, m, tag)
}

// ManifestPulled writes a pull of a manifest, if it is one: see the package's
// documentation.
func (b *Bridge) ManifestPulled(ctx context.Context, repo reference.Named, dgst digest.Digest, m distribution.Manifest, tag string) error {
	c := callOf(ctx, repo)
	if !b.pullsManifest(c, dgst) {
		return nil
	}
	return b.manifest(ctx, c, ActionPull, dgst, m, tag)
}

// ManifestDeleted writes the delete of a manifest.
func (b *Bridge) ManifestDeleted(ctx context.Context, repo reference.Named, dgst digest.Digest) error {
	d, _ := b.begin(ctx, callOf(ctx, repo), ActionDelete, TypeManifest)
	d.event.Target.Digest = dgst
	return b.write(ctx, d)
}

// BlobPushed writes a push of a blob.
func (b *Bridge) BlobPushed(ctx context.Context, repo reference.Named, desc distribution.Descriptor) error {
	return b.blob(ctx, callOf(ctx, repo), ActionPush, desc, nil)
}

// BlobPulled writes a pull of a blob, if it is one: see the package's documentation.
func (b *Bridge) BlobPulled(ctx context.Context, repo reference.Named, desc distribution.Descriptor) error {
	c := callOf(ctx, repo)
	if !b.pullsBlob(ctx, c, desc) {
		return nil
	}
	return b.blob(ctx, c, ActionPull, desc, nil)
}

// BlobMounted writes a mount of a blob from another repository.
func (b *Bridge) BlobMounted(ctx context.Context, repo reference.Named, desc distribution.Descriptor, from reference.Named) error {
	return b.blob(ctx, callOf(ctx, repo), ActionMount, desc, from)
}

// BlobDeleted writes the delete of a blob.
func (b *Bridge) BlobDeleted(ctx context.Context, repo reference.Named, dgst digest.Digest) error {
	d, _ := b.begin(ctx, callOf(ctx, repo), ActionDelete, TypeBlob)
	d.event.Target.Digest = dgst
	return b.write(ctx, d)
}

// TagDeleted writes the delete of a tag. What it pointed to is still there.
func (b *Bridge) TagDeleted(ctx context.Context, repo reference.Named, tag string) error {
	d, _ := b.begin(ctx, callOf(ctx, repo), ActionDelete, TypeTag)
	d.event.Target.Tag = tag
	return b.write(ctx, d)
}

// RepositoryDeleted writes the delete of a whole repository.
func (b *Bridge) RepositoryDeleted(ctx context.Context, repo reference.Named) error {
	d, _ := b.begin(ctx, callOf(ctx, repo), ActionDelete, TypeRepository)
	return b.write(ctx, d)
}

// RepositoryRenamed writes the rename of a repository.
func (b *Bridge) RepositoryRenamed(ctx context.Context, from, to reference.Named) error {
	d, _ := b.begin(ctx, callOf(ctx, to), ActionRename, TypeRepository)
	d.event.Target.FromRepository = from.Name()
	return b.write(ctx, d)
}

func (b *Bridge) manifest(ctx context.Context, c call, action string, dgst digest.Digest, m distribution.Manifest, tag string) error {
	d, urls := b.begin(ctx, c, action, TypeManifest)
	t := &d.event.Target
	t.Digest, t.Tag = dgst, strings.Clone(tag)
	b.complete(ctx, &d.event, func() error { return b.describe(t, m) })
	b.locate(ctx, &d.event, urls, c.repo)
	return b.write(ctx, d)
}

func (b *Bridge) describe(t *Target, m distribution.Manifest) error {
	if m == nil {
		return errors.New("notifications: no manifest at hand")
	}
	if b.config.IncludeReferences {
		t.References = m.References()
	}
	mediaType, payload, err := m.Payload()
	if err == nil {
		t.MediaType, t.Size = mediaType, int64(len(payload))
		t.total()
	}
	return err
}

func (b *Bridge) blob(ctx context.Context, c call, action string, desc distribution.Descriptor, from reference.Named) error {
	d, urls := b.begin(ctx, c, action, TypeBlob)
	t := &d.event.Target
	t.MediaType, t.Digest, t.Size = desc.MediaType, desc.Digest, desc.Size
	if from != nil {
		t.FromRepository = from.Name()
	}
	b.locate(ctx, &d.event, urls, c.repo)
	return b.write(ctx, d)
}

// locate gives the content of an event its URL, if somebody knows the host. With a URL of
// our own making, what the target says is pieces of that, and no more of the request, which
// its event should not keep.
func (b *Bridge) locate(ctx context.Context, e *Event, urls URLBuilder, repo reference.Named) {
	t := &e.Target
	root, own := urls.(urlBuilder)
	if !own || t.Digest == "" {
		b.complete(ctx, e, func() (err error) {
			t.URL, err = contentURL(urls, t.Type, repo, t.Digest)
			return err
		})
		return
	}
	t.URL = root.join(t.Repository, t.Type+"s", string(t.Digest))
	t.pieces()
}

// dispatch is an event on its way to the sink, in one piece with what takes it there.
type dispatch struct {
	event Event
	block [1]*Event
	wait  patience
}

// dispatch starts an event now.
func (b *Bridge) dispatch() *dispatch {
	d, now := new(dispatch), time.Now()
	d.event.Timestamp = timestamp(now)
	d.wait.end = now.Add(b.config.DispatchTimeout)
	return d
}

// call is what a call of a listener is for. A server's context is many deep, and a name is
// put together each time: both are asked once.
type call struct {
	repo    reference.Named
	name    string
	id      string        // of the request
	request *http.Request // nil if there is none
}

func callOf(ctx context.Context, repo reference.Named) call {
	id, r := requestFrom(ctx)
	return call{repo, repo.Name(), id, r}
}

// begin starts an event with what the context of the call says, and finds the URLs
// for its target: none if nobody knows the host.
func (b *Bridge) begin(ctx context.Context, c call, action, kind string) (*dispatch, URLBuilder) {
	d := b.dispatch()
	e := &d.event
	e.Action = action
	e.ID = newID(e.Timestamp)
	e.Target.Type, e.Target.Repository = kind, c.name
	b.addRequest(ctx, e, c.id, c.request)

	urls := b.config.URLs
	if urls == nil && c.request != nil {
		urls = proxies(b.config.TrustedProxies).urlsOf(c.request)
	}
	return d, urls
}

func (b *Bridge) addRequest(ctx context.Context, e *Event, id string, r *http.Request) {
	e.Request = proxies(b.config.TrustedProxies).record(id, r)
	e.Actor = actorFrom(ctx, r, b.config.TrustBasicUser)
	e.Source = b.config.Source
}

// Report writes an event that a source of another kind than Listen has made of a client's
// request: see package ociregistry. It adds ID, time, actor, request (under a fresh ID, if
// its context has none), source and, for content with a digest, the URL. What the sink
// does not take in time is logged and counted as rejected.
func (b *Bridge) Report(r *http.Request, action string, target Target) {
	ctx := r.Context()
	id, _ := requestFrom(ctx)
	d := b.dispatch()
	e := &d.event
	e.Action, e.Target = action, target
	e.Target.total()
	b.nameAll(r, e, &id)
	b.addRequest(ctx, e, id, r)
	if err := b.write(ctx, d); err != nil {
		report(ContextWithRequest(ctx, id, r), b, named(target.Repository), err)
	}
}

// named is a repository by its name alone.
type named string

func (n named) Name() string { return string(n) }

// nameAll gives an event its ID, its request one if that has none, and its content a URL:
// all of it pieces of one string, and with them the names in the target. Where those come
// from is a piece of the request, which its event should not keep.
func (b *Bridge) nameAll(r *http.Request, e *Event, request *string) {
	var room [512]byte
	text := appendID(room[:0], e.Timestamp)
	if *request == "" {
		text = appendID(text, e.Timestamp)
	}
	ids, t := len(text), &e.Target
	hasURL := t.URL == "" && t.Digest != "" && e.Action != ActionDelete && (t.Type == TypeManifest || t.Type == TypeBlob)
	switch urls := b.config.URLs.(type) {
	case nil:
		if hasURL {
			text = appendContent(proxies(b.config.TrustedProxies).appendRoot(text, r), t)
		}
	case urlBuilder:
		if hasURL {
			text = appendContent(append(text, urls...), t)
		}
	default:
		if hasURL {
			b.complete(r.Context(), e, func() error {
				repo, err := reference.WithName(t.Repository)
				if err == nil {
					t.URL, err = contentURL(urls, t.Type, repo, t.Digest)
				}
				return err
			})
		}
	}
	ours := len(text) > ids
	if !ours {
		text = append(append(text, t.Repository...), t.Digest...)
	}
	names := len(text)
	all := string(append(append(text, t.FromRepository...), t.Tag...))
	e.ID = all[:idLength]
	if *request == "" {
		*request = all[idLength:ids]
	}
	t.FromRepository, t.Tag = all[names:][:len(t.FromRepository)], all[names+len(t.FromRepository):]
	if ours {
		t.URL = all[ids:names]
		t.pieces()
		return
	}
	t.Repository, t.Digest = all[ids:][:len(t.Repository)], digest.Digest(all[ids+len(t.Repository):names])
}

// complete finds something out for an event, by code that is not ours. An event is
// worth more without it than not at all, but somebody should know.
func (b *Bridge) complete(ctx context.Context, e *Event, find func() error) {
	var err error
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("notifications: panic: %v", p)
		}
		if err != nil {
			loggerFrom(ctx, b.config.Logger).WithField("event.id", e.ID).WithError(err).
				Warn("notifications: event is incomplete")
		}
	}()
	err = find()
}

func (b *Bridge) write(ctx context.Context, d *dispatch) (err error) {
	e := &d.event
	if debugs(bareLoggerFrom(ctx, b.config.Logger)) {
		loggerFrom(ctx, b.config.Logger).WithFields(logrus.Fields{"event.id": e.ID, "repository": e.Target.Repository}).
			Debugf("notifications: %s of %s", e.Action, e.Target.Type)
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("notifications: sink panicked: %v", p)
		}
		if err != nil {
			b.rejected.Add(1)
			rejected.Add(1)
			err = &RejectedError{Event: e, Err: err}
		}
	}()

	// The client may be gone by now; what it did still happened.
	d.wait.begin(ctx, ErrDispatchTimeout)
	defer d.wait.giveUp()
	d.block[0] = e
	return b.sink.Write(&d.wait, d.block[:]...)
}
