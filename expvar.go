package notifications

import (
	"encoding/json"
	"expvar"
	"net/http"
	"slices"
	"sync"
	"time"
)

// published is the list of endpoints that expvar shows under registry →
// notifications → endpoints, where operators' dashboards look for it.
var published publishedEndpoints

type publishedEndpoints struct {
	mu        sync.Mutex // guards the rest
	endpoints []*Endpoint
	shown     bool       // has been put in its place
	others    expvar.Var // the list that somebody else had put there before
}

func (p *publishedEndpoints) add(e *Endpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endpoints = append(p.endpoints, e)
	if m := notificationsMap(); m != nil {
		p.publish(m)
	}
}

func (p *publishedEndpoints) remove(e *Endpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.endpoints, e); i >= 0 {
		p.endpoints = slices.Delete(p.endpoints, i, i+1)
	}
}

// publish puts this list in its place, with the first endpoint. A stock distribution
// server has put a list of its own there before, when it was initialized; that is
// extended. Whoever comes later is left alone, and has to extend ours: to extend that
// in turn could go round for ever. The caller holds the lock.
func (p *publishedEndpoints) publish(m *expvar.Map) {
	if p.shown {
		return
	}
	p.shown = true
	p.others = m.Get("endpoints")
	m.Set("endpoints", p)
}

// rejected counts the events that were lost by all bridges of the process.
var rejected expvar.Int

// publishRejected shows rejected next to the endpoints.
func (p *publishedEndpoints) publishRejected() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := notificationsMap(); m != nil && m.Get("rejected") == nil {
		m.Set("rejected", &rejected)
	}
}

// notificationsMap returns the expvar map registry → notifications, or nil if
// something else has that name.
func notificationsMap() *expvar.Map {
	registry := expvarMap("registry", expvar.Get, expvar.Publish)
	if registry == nil {
		return nil
	}
	return expvarMap("notifications", registry.Get, registry.Set)
}

// expvarMap returns the named map, which it makes if there is nothing of that name.
// Something else of that name is not ours to replace.
func expvarMap(name string, get func(string) expvar.Var, set func(string, expvar.Var)) *expvar.Map {
	v := get(name)
	if v == nil {
		m := new(expvar.Map).Init()
		set(name, m)
		return m
	}
	m, _ := v.(*expvar.Map)
	return m
}

// String returns the list as JSON, which is what an expvar.Var does.
func (p *publishedEndpoints) String() string {
	p.mu.Lock()
	endpoints, others := slices.Clone(p.endpoints), p.others
	p.mu.Unlock()

	var list []json.RawMessage
	if others != nil {
		// What is not a list cannot be extended: better ours alone than nothing.
		_ = json.Unmarshal([]byte(others.String()), &list)
	}
	for _, e := range endpoints {
		if b, err := json.Marshal(e.expvar()); err == nil {
			list = append(list, b)
		}
	}
	if b, err := json.Marshal(list); err == nil && list != nil {
		return string(b)
	}
	return "[]"
}

// endpointExpvar is one endpoint as dashboards know it. The names without tags are
// theirs.
type endpointExpvar struct {
	Name string `json:"name"`
	URL  string `json:"url"`

	Timeout           time.Duration
	Headers           http.Header
	Threshold         int
	Backoff           time.Duration
	MaxBackoff        time.Duration
	IgnoredMediaTypes []string
	Only              rulesExpvar
	Ignore            rulesExpvar
	MediaType         string
	MaxEvents         int
	MaxBytes          int
	MaxAttempts       int
	MaxAge            time.Duration
	MaxPending        int
	MaxPendingBytes   int
	Overflow          Overflow
	SigningKeys       []string
	TLS               TLS
	Addresses         Addresses

	Metrics metricsExpvar
}

// rulesExpvar is Rules under the names that dashboards know.
type rulesExpvar struct {
	MediaTypes   []string
	Actions      []string
	Repositories []string
}

// metricsExpvar has some counts twice: under the names that dashboards know, and
// under those of the sum that always adds up.
type metricsExpvar struct {
	Pending   uint64
	Events    uint64
	Successes uint64
	Failures  uint64
	Errors    uint64
	Statuses  map[string]uint64

	Accepted     uint64
	Delivered    uint64
	Filtered     uint64
	DeadLettered uint64
	Dropped      map[string]uint64
	Rejected     uint64
	State        State
}

func (e *Endpoint) expvar() endpointExpvar {
	m, retry, post := e.Metrics(), e.retry.gate.config, e.config.http()
	_ = post.setDefaults() // was checked when the endpoint was made
	if m.Statuses == nil {
		m.Statuses = map[string]uint64{} // not null: dashboards look into it
	}
	return endpointExpvar{
		Name: e.name, URL: e.target.String(),
		Headers: redactHeaders(post.Headers), Timeout: post.Timeout,
		Threshold: retry.Threshold, Backoff: retry.Backoff, MaxBackoff: retry.MaxBackoff,
		IgnoredMediaTypes: e.config.IgnoredMediaTypes, Only: rulesExpvar(e.config.Only), Ignore: rulesExpvar(e.config.Ignore),
		MediaType: post.MediaType, MaxEvents: post.MaxEvents, MaxBytes: post.MaxBytes,
		MaxAttempts: retry.MaxAttempts, MaxAge: retry.MaxAge,
		MaxPending: e.config.MaxPending, MaxPendingBytes: e.config.MaxPendingBytes, Overflow: e.config.Overflow,
		SigningKeys: redactKeys(post.SigningKeys), TLS: post.TLS, Addresses: post.Addresses,
		Metrics: metricsExpvar{
			Pending: m.Pending, Events: m.Accepted, Successes: m.Delivered,
			Failures: m.Failures, Errors: m.Errors, Statuses: m.Statuses,
			Accepted: m.Accepted, Delivered: m.Delivered, Filtered: m.Filtered,
			DeadLettered: m.DeadLettered, Dropped: m.Dropped, Rejected: m.Rejected,
			State: m.State,
		},
	}
}
