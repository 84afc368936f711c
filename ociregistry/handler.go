package ociregistry

import (
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/internal/downloads"
	"github.com/registry-notifications/notifications/internal/recent"
)

// Config is the configuration of a Handler. The zero value works.
type Config struct {
	// BridgeConfig says what the events say, and what counts as a pull. A client's name
	// comes from the context, where the access control in front has put it with
	// notifications.ContextWithActor.
	notifications.BridgeConfig

	// Prefix is the path in front of "/v2/" in the requests that Handler gets, as "/hub".
	// Empty means none.
	Prefix string

	// MaxManifest is how many bytes of a manifest are held at most, to find its
	// references, or its digest where the registry does not say it. The event of a larger
	// one goes without, and so does one with more than 16,384 references. Zero means 4 MiB,
	// which is what registries have to take.
	MaxManifest int64
}

// Validate returns a *notifications.ConfigError for what a Handler cannot have.
func (c *Config) Validate() error {
	if c.Prefix != "" && (!strings.HasPrefix(c.Prefix, "/") || strings.HasSuffix(c.Prefix, "/")) {
		return wrong("prefix", "%q: allowed is a path that begins with a slash and does not end with one", c.Prefix)
	}
	if c.MaxManifest < 0 {
		return wrong("maxmanifest", "%d: allowed are zero, for the default, and above", c.MaxManifest)
	}
	return c.BridgeConfig.Validate()
}

func wrong(field, format string, args ...any) error {
	return fmt.Errorf("ociregistry: %w", &notifications.ConfigError{Field: field, Err: fmt.Errorf(format, args...)})
}

const (
	// maxSessions is how many uploads are known at once, and maxSizes of how many blobs the
	// size is.
	maxSessions = 16 << 10
	maxSizes    = 16 << 10
)

// Handler returns a handler that has next serve every request, and writes an event to
// sink for each that the package's documentation says makes one. The client waits for
// the sink no longer than DispatchTimeout; an event that was not taken by then is logged
// and counted as rejected. The sink stays the caller's to close, after the server.
//
// What next asks of its http.ResponseWriter by type assertion (Flush, ReadFrom, Hijack,
// Push, and of the standard library's servers CloseNotify) or by http.ResponseController,
// it gets if the server has it.
//
// A nil next or sink, or a configuration that Config.Validate does not like, panics.
func Handler(next http.Handler, sink notifications.Sink, config Config) http.Handler {
	if next == nil {
		panic("ociregistry: next: nil")
	}
	if err := config.Validate(); err != nil {
		panic(err.Error())
	}
	bridge, err := notifications.NewBridge(sink, config.BridgeConfig)
	if err != nil {
		panic(err.Error())
	}
	if config.MaxManifest == 0 {
		config.MaxManifest = 4 << 20
	}
	return &handler{
		next: next, bridge: bridge, config: config, root: config.Prefix + "/v2/",
		sessions:  recent.New[string, *session](maxSessions),
		sizes:     recent.New[digest.Digest, int64](maxSizes),
		downloads: downloads.New(bridge.ClientAddr),
	}
}

type handler struct {
	next   http.Handler
	bridge *notifications.Bridge
	config Config
	root   string

	sessions  *recent.Map[string, *session]
	sizes     *recent.Map[digest.Digest, int64]
	downloads *downloads.Tracker
}

const (
	digestHeader = "Docker-Content-Digest"
	// octets is the media type of a blob, of which a registry knows no more.
	octets = "application/octet-stream"
)

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var to route
	if path, ok := strings.CutPrefix(r.URL.Path, h.root); ok {
		to = parse(path)
	}
	switch m := r.Method; {
	case to.kind == manifest && (m == http.MethodGet || m == http.MethodHead):
		h.getManifest(w, r, to)
	case to.kind == blob && (m == http.MethodGet || m == http.MethodHead):
		h.getBlob(w, r, to)
	case to.kind == manifest && m == http.MethodPut:
		h.putManifest(w, r, to)
	case (to.kind == manifest || to.kind == blob) && m == http.MethodDelete:
		h.delete(w, r, to)
	case to.kind == uploads && m == http.MethodPost:
		h.postUpload(w, r, to)
	case to.kind == upload || to.kind == uploads || to.kind == other:
		h.goOnUpload(w, r, to)
	default:
		h.next.ServeHTTP(w, r)
	}
}

// learn keeps the size of a blob. The digest may be a piece of something long.
func (h *handler) learn(dgst digest.Digest, size int64) {
	h.sizes.Put(digest.Digest(strings.Clone(string(dgst))), size)
}

// serve has the registry answer. If that panics, nothing of what comes after happens.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, k keep) *response {
	watched, dressed := watch(w, k, h.config.MaxManifest)
	h.next.ServeHTTP(dressed, r)
	watched.end(r)
	return watched
}

func (h *handler) delete(w http.ResponseWriter, r *http.Request, to route) {
	if answer := h.serve(w, r, nothing); !answer.isSuccess() {
		return
	}
	target := notifications.Target{Type: notifications.TypeBlob, Repository: to.name}
	switch {
	case to.kind == blob:
		target.Digest = digest.Digest(to.reference)
	case isDigest(to.reference):
		target.Type, target.Digest = notifications.TypeManifest, digest.Digest(to.reference)
	default:
		target.Type, target.Tag = notifications.TypeTag, to.reference
	}
	h.bridge.Report(r, notifications.ActionDelete, target)
}

// digestOf returns the digest that a registry has answered with, or else another.
func digestOf(header http.Header, or string) digest.Digest {
	if d := value(header, digestHeader); isDigest(d) {
		return digest.Digest(d)
	}
	if isDigest(or) {
		return digest.Digest(or)
	}
	return ""
}

// mediaTypeOf returns the media type that a header has, without its parameters, or else
// another.
func mediaTypeOf(header http.Header, or string) string {
	v := value(header, "Content-Type")
	if !strings.Contains(v, ";") && v != "" {
		return strings.ToLower(v) // as package mime has it
	}
	if t, _, _ := mime.ParseMediaType(v); t != "" {
		return t
	}
	return or
}
