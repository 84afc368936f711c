package notifications

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

type (
	requestKey struct{}
	actorKey   struct{}

	requestValue struct {
		id      string
		request *http.Request
	}
)

// ContextWithRequest returns a context whose calls are made for the client's
// request r, under an ID that is the registry's own. A bridge puts both into its
// events. Servers that RecordRequests wraps have it done for them; a stock
// distribution server has it done in its own way, which a bridge understands.
func ContextWithRequest(ctx context.Context, id string, r *http.Request) context.Context {
	return context.WithValue(ctx, requestKey{}, requestValue{id: id, request: r})
}

// ContextWithActor returns a context whose calls are made by actor, whom the
// server's access control has verified.
func ContextWithActor(ctx context.Context, actor ActorRecord) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// RecordRequests wraps the handler of a registry that is not distribution's: each
// request gets a fresh ID, and its context carries it for a bridge.
func RecordRequests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(ContextWithRequest(r.Context(), newID(time.Now()), r)))
	})
}

// requestFrom returns the request that ctx is for, if it is for one.
func requestFrom(ctx context.Context) (id string, r *http.Request) {
	if v, ok := ctx.Value(requestKey{}).(requestValue); ok {
		return v.id, v.request
	}
	// A stock distribution server has plain strings for keys.
	id, _ = ctx.Value("http.request.id").(string)
	r, _ = ctx.Value("http.request").(*http.Request)
	return id, r
}

// proxies is how many proxies in front of the server are trusted to say where a
// request came from. The headers that they write can be written by anybody, and
// each proxy only appends: the last entry is the nearest one's word.
type proxies int

// forwarded returns the entry of a header that the farthest trusted proxy wrote.
func (p proxies) forwarded(r *http.Request, header string) string {
	if p <= 0 {
		return ""
	}
	entries := strings.Split(strings.Join(r.Header.Values(header), ","), ",")
	return strings.TrimSpace(entries[max(0, len(entries)-int(p))])
}

func (p proxies) record(id string, r *http.Request) RequestRecord {
	if r == nil {
		return RequestRecord{ID: id}
	}
	return RequestRecord{
		ID:        id,
		Addr:      p.addr(r),
		Host:      p.host(r),
		Method:    r.Method,
		UserAgent: r.UserAgent(),
	}
}

func (p proxies) addr(r *http.Request) string {
	v := p.forwarded(r, "X-Forwarded-For")
	if v == "" {
		return r.RemoteAddr
	}
	if host, _, err := net.SplitHostPort(v); err == nil {
		v = host
	}
	if ip, err := netip.ParseAddr(strings.Trim(v, "[]")); err == nil {
		return ip.String()
	}
	return r.RemoteAddr
}

func (p proxies) host(r *http.Request) string {
	if v := p.forwarded(r, "X-Forwarded-Host"); v != "" {
		return v
	}
	return r.Host
}

func (p proxies) scheme(r *http.Request) string {
	switch v := p.forwarded(r, "X-Forwarded-Proto"); {
	case v == "http" || v == "https":
		return v
	case r.TLS != nil:
		return "https"
	}
	return "http"
}

// actorFrom returns who makes the calls of ctx. An unchecked user name of basic
// authentication is anybody's claim.
func actorFrom(ctx context.Context, r *http.Request, trustBasic bool) ActorRecord {
	if actor, ok := ctx.Value(actorKey{}).(ActorRecord); ok {
		return actor
	}
	if name, _ := ctx.Value("auth.user.name").(string); name != "" {
		return ActorRecord{Name: name}
	}
	if trustBasic && r != nil {
		name, _, _ := r.BasicAuth()
		return ActorRecord{Name: name}
	}
	return ActorRecord{}
}
