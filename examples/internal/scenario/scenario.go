// Package scenario is what a client does to a registry, step by step, and what the
// registry then has to report.
package scenario

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/registry-notifications/notifications"
)

// Event is what a step makes a registry report, as far as it can be known before.
type Event struct {
	Action, Type, Repository, Tag, From string
}

// Of returns what e is, in the terms of a step.
func Of(e *notifications.Event) Event {
	return Event{e.Action, e.Target.Type, e.Target.Repository, e.Target.Tag, e.Target.FromRepository}
}

// Step is one thing that a client does.
type Step struct {
	Name string
	Do   func(ctx context.Context) error
	// Want is what the registry reports, in no particular order.
	Want []Event
}

// Scenario is a client and its content.
type Scenario struct {
	// Authorization is sent with every request that has none of its own.
	Authorization string

	host      string
	transport *http.Transport
	app       v1.Image // has two layers
	index     v1.ImageIndex
}

// New returns the scenario of a client of the registry at host, an address with its
// port. Nothing is done yet.
func New(host string) (*Scenario, error) {
	app, err := image("amd64", "one layer", "another layer")
	if err != nil {
		return nil, err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"arm64", "riscv64"} {
		img, err := image(arch, "a layer for "+arch)
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	// The registry may call itself something else in what it answers.
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, host)
	}
	return &Scenario{host: host, transport: &http.Transport{DialContext: dial}, app: app, index: index}, nil
}

// DialWith has the client reach the registry in another way than by its address. It is
// called before the first step.
func (s *Scenario) DialWith(dial func(context.Context) (net.Conn, error)) {
	s.transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }
}

// Host returns where the registry is.
func (s *Scenario) Host() string { return s.host }

// Close closes the client's connections.
func (s *Scenario) Close() { s.transport.CloseIdleConnections() }

// RoundTrip sends one request of the client's.
func (s *Scenario) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.Authorization != "" && r.Header.Get("Authorization") == "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", s.Authorization)
	}
	return s.transport.RoundTrip(r)
}

// image returns an image that is the same each time.
func image(arch string, layers ...string) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: arch})
	if err != nil {
		return nil, err
	}
	for _, content := range layers {
		if img, err = mutate.AppendLayers(img, static.NewLayer([]byte(content), types.OCILayer)); err != nil {
			return nil, err
		}
	}
	return img, nil
}

// options are those of a client that does one thing after the other.
func (s *Scenario) options(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(s), remote.WithJobs(1),
		remote.WithUserAgent("scenario"),
	}
}

func (s *Scenario) tag(ref string) name.Tag {
	t, err := name.NewTag(s.host+"/"+ref, name.Insecure)
	if err != nil {
		panic(err) // ref is written in this package
	}
	return t
}

func (s *Scenario) digest(repository, dgst string) name.Digest {
	d, err := name.NewDigest(s.host+"/"+repository+"@"+dgst, name.Insecure)
	if err != nil {
		panic(err)
	}
	return d
}

// request is one request of a client without a library.
type request struct {
	method, path string
	headers      []string // "Name: value"
	body         string
	want         int // the status
}

// send sends a request and returns where the answer points to.
func (s *Scenario) send(ctx context.Context, r request) (location string, err error) {
	return s.sendBody(ctx, r, bytes.NewReader([]byte(r.body)))
}

// sendBody sends a request with a body of another kind.
func (s *Scenario) sendBody(ctx context.Context, r request, content io.Reader) (location string, err error) {
	url := r.path
	if strings.HasPrefix(url, "/") {
		url = "http://" + s.host + url
	}
	req, err := http.NewRequestWithContext(ctx, r.method, url, content)
	if err != nil {
		return "", err
	}
	req.Header.Set("User-Agent", "scenario")
	req.Header.Set("Accept", strings.Join([]string{
		string(types.OCIManifestSchema1), string(types.OCIImageIndex), string(types.DockerManifestSchema2),
	}, ", "))
	for _, h := range r.headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}

	resp, err := s.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != r.want {
		return "", fmt.Errorf("%s %s: %s, not %d: %s", r.method, r.path, resp.Status, r.want, body)
	}
	return resp.Header.Get("Location"), nil
}

// sends returns a step's Do that sends requests, one after the other.
func (s *Scenario) sends(requests ...request) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, r := range requests {
			if _, err := s.send(ctx, r); err != nil {
				return err
			}
		}
		return nil
	}
}

func digestOf(content string) string { return digest.FromString(content).String() }

// End returns where an upload with a location ends. Some registries have a query in that.
func End(location, dgst string) string {
	if strings.Contains(location, "?") {
		return location + "&digest=" + dgst
	}
	return location + "?digest=" + dgst
}

// times returns n events that are alike.
func times(n int, e Event) []Event {
	events := make([]Event, n)
	for i := range events {
		events[i] = e
	}
	return events
}

func events(lists ...[]Event) []Event {
	var all []Event
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}
