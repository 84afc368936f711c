package ociregistry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// fact is something that has happened in a registry.
type fact struct {
	Action, Type, Repository, From, Tag string
	Digest                              digest.Digest
	Size                                int64
	MediaType                           string
}

// registry is a registry in memory, by the OCI Distribution Specification 1.1, which
// writes down what has happened in it. Sessions are numbered and content has no date, so
// that two of them answer alike.
type registry struct {
	options
	mu       sync.Mutex // guards the rest
	repos    map[string]*repo
	sessions map[string]*pushing
	last     int // session
	facts    []fact
	muddled  map[digest.Digest]bool // pushed by an upload of which a part had failed
}

// options is what registries do in different ways.
type options struct {
	prefix    string
	location  string // "", "absolute", or what uploads are under: "/elsewhere", "/elsewhere?session="
	noDigest  bool   // says no Docker-Content-Digest
	noRange   bool   // says no Range of uploads
	redirects string // where blobs are
}

type repo struct {
	blobs     map[digest.Digest][]byte
	manifests map[digest.Digest]stored
	tags      map[string]digest.Digest
}

type stored struct {
	mediaType string
	content   []byte
}

// pushing is an upload that goes on.
type pushing struct {
	repo    string
	content []byte
	muddled bool
}

func newRegistry(o options) *registry {
	return &registry{
		options: o, repos: make(map[string]*repo), sessions: make(map[string]*pushing), muddled: make(map[digest.Digest]bool),
	}
}

// The regular expressions are the specification's.
const (
	nameGrammar   = `[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*`
	tagGrammar    = `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
	digestGrammar = `[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+`
)

var routes = []struct {
	path  *regexp.Regexp
	serve func(*registry, http.ResponseWriter, *http.Request, string, string)
}{
	{regexp.MustCompile(`^/v2/(` + nameGrammar + `)/tags/list()$`), (*registry).listTags},
	{regexp.MustCompile(`^/v2/(` + nameGrammar + `)/referrers/(` + digestGrammar + `)$`), (*registry).referrers},
	{regexp.MustCompile(`^/v2/(` + nameGrammar + `)/manifests/(` + tagGrammar + `|` + digestGrammar + `)$`), (*registry).manifest},
	{regexp.MustCompile(`^/v2/(` + nameGrammar + `)/blobs/(` + digestGrammar + `)$`), (*registry).blob},
	{regexp.MustCompile(`^/v2/(` + nameGrammar + `)/blobs/uploads/?()$`), (*registry).begin},
	{regexp.MustCompile(`^/v2/(` + nameGrammar + `)/blobs/uploads/([^/]+)$`), (*registry).goOn},
}

func (g *registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, g.prefix)
	if !ok {
		fail(w, http.StatusNotFound, "NAME_UNKNOWN")
		return
	}
	if elsewhere, _, _ := strings.Cut(g.location, "?"); elsewhere != "" && elsewhere != "absolute" {
		if rest, ok := strings.CutPrefix(r.URL.Path, elsewhere); ok && (r.URL.Query().Has("session") || strings.HasPrefix(rest, "/s")) {
			id := r.URL.Query().Get("session")
			if id == "" {
				id = rest[1:]
			}
			g.goOn(w, r, "", id)
			return
		}
	}
	switch {
	case path == "/v2/" && r.Method == http.MethodGet:
		answer(w, http.StatusOK, map[string]string{})
		return
	case path == "/v2/_catalog" && r.Method == http.MethodGet:
		g.catalog(w)
		return
	}
	for _, route := range routes {
		if m := route.path.FindStringSubmatch(path); m != nil {
			route.serve(g, w, r, m[1], m[2])
			return
		}
	}
	fail(w, http.StatusNotFound, "NAME_UNKNOWN")
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func fail(w http.ResponseWriter, status int, code string) {
	answer(w, status, map[string]any{"errors": []map[string]string{{"code": code}}})
}

// happened writes a fact down. The caller holds the lock.
func (g *registry) happened(f fact) { g.facts = append(g.facts, f) }

// history returns what has happened, and forgets it.
func (g *registry) history() []fact {
	g.mu.Lock()
	defer g.mu.Unlock()
	facts := g.facts
	g.facts = nil
	return facts
}

// at returns a repository. The caller holds the lock.
func (g *registry) at(name string) *repo {
	if g.repos[name] == nil {
		g.repos[name] = &repo{make(map[digest.Digest][]byte), make(map[digest.Digest]stored), make(map[string]digest.Digest)}
	}
	return g.repos[name]
}

func (g *registry) sayDigest(w http.ResponseWriter, d digest.Digest) {
	if !g.noDigest {
		w.Header().Set("Docker-Content-Digest", d.String())
	}
}

func (g *registry) catalog(w http.ResponseWriter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	names := []string{}
	for name := range g.repos {
		names = append(names, name)
	}
	slices.Sort(names)
	answer(w, http.StatusOK, map[string]any{"repositories": names})
}

func (g *registry) listTags(w http.ResponseWriter, r *http.Request, name, _ string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Method != http.MethodGet {
		fail(w, http.StatusMethodNotAllowed, "UNSUPPORTED")
		return
	}
	tags := []string{}
	for tag := range g.at(name).tags {
		tags = append(tags, tag)
	}
	slices.Sort(tags)
	answer(w, http.StatusOK, map[string]any{"name": name, "tags": tags})
}

// part is what the test's registry has to know of a manifest.
type part struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`
}

type content struct {
	MediaType    string `json:"mediaType"`
	ArtifactType string `json:"artifactType,omitempty"`
	Config       *part  `json:"config,omitempty"`
	Layers       []part `json:"layers,omitempty"`
	Manifests    []part `json:"manifests,omitempty"`
	Subject      *part  `json:"subject,omitempty"`
}

func (g *registry) referrers(w http.ResponseWriter, r *http.Request, name, reference string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	index := content{MediaType: "application/vnd.oci.image.index.v1+json", Manifests: []part{}}
	for d, m := range g.at(name).manifests {
		var c content
		if json.Unmarshal(m.content, &c) == nil && c.Subject != nil && c.Subject.Digest.String() == reference {
			index.Manifests = append(index.Manifests, part{m.mediaType, d, int64(len(m.content))})
		}
	}
	slices.SortFunc(index.Manifests, func(a, b part) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	w.Header().Set("Content-Type", index.MediaType)
	_ = json.NewEncoder(w).Encode(index)
}

func (g *registry) manifest(w http.ResponseWriter, r *http.Request, name, reference string) {
	if r.Method == http.MethodPut {
		g.putManifest(w, r, name, reference)
		return
	}
	g.mu.Lock()
	in := g.at(name)
	d, tagged := in.tags[reference]
	if !tagged {
		d = digest.Digest(reference)
	}
	m, ok := in.manifests[d]
	if !ok {
		g.mu.Unlock()
		fail(w, http.StatusNotFound, "MANIFEST_UNKNOWN")
		return
	}
	defer g.mu.Unlock()
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		g.sayDigest(w, d)
		w.Header().Set("Content-Type", m.mediaType)
		w.Header().Set("Etag", `"`+d.String()+`"`)
		if r.Header.Get("If-None-Match") == `"`+d.String()+`"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(m.content)))
		if r.Method == http.MethodGet {
			if _, err := w.Write(m.content); err != nil {
				return
			}
			tag := ""
			if tagged {
				tag = reference
			}
			bare, _, _ := strings.Cut(m.mediaType, ";")
			g.happened(fact{Action: "pull", Type: "manifest", Repository: name, Tag: tag, Digest: d, Size: int64(len(m.content)), MediaType: bare})
		}
	case http.MethodDelete:
		if tagged {
			delete(in.tags, reference)
			g.happened(fact{Action: "delete", Type: "tag", Repository: name, Tag: reference})
		} else {
			delete(in.manifests, d)
			for tag, to := range in.tags {
				if to == d {
					delete(in.tags, tag)
				}
			}
			g.happened(fact{Action: "delete", Type: "manifest", Repository: name, Digest: d})
		}
		w.WriteHeader(http.StatusAccepted)
	default:
		fail(w, http.StatusMethodNotAllowed, "UNSUPPORTED")
	}
}

func (g *registry) putManifest(w http.ResponseWriter, r *http.Request, name, reference string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		fail(w, http.StatusBadRequest, "MANIFEST_INVALID")
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	in, d := g.at(name), digest.FromBytes(body)
	tag := reference
	if strings.Contains(reference, ":") {
		tag = ""
		if d.String() != reference {
			fail(w, http.StatusBadRequest, "DIGEST_INVALID")
			return
		}
	}
	var c content
	if json.Unmarshal(body, &c) != nil {
		fail(w, http.StatusBadRequest, "MANIFEST_INVALID")
		return
	}
	blobs := c.Layers
	if c.Config != nil {
		blobs = append(blobs, *c.Config)
	}
	for _, b := range blobs {
		if _, ok := in.blobs[b.Digest]; !ok {
			fail(w, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN")
			return
		}
	}
	for _, m := range c.Manifests {
		if _, ok := in.manifests[m.Digest]; !ok {
			fail(w, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN")
			return
		}
	}
	mediaType := r.Header.Get("Content-Type")
	if mediaType == "" {
		mediaType = c.MediaType
	}
	bare, _, _ := strings.Cut(mediaType, ";")
	in.manifests[d] = stored{mediaType, body}
	if tag != "" {
		in.tags[tag] = d
	}
	g.happened(fact{Action: "push", Type: "manifest", Repository: name, Tag: tag, Digest: d, Size: int64(len(body)), MediaType: bare})
	if c.Subject != nil {
		w.Header().Set("OCI-Subject", c.Subject.Digest.String())
	}
	g.sayDigest(w, d)
	w.Header().Set("Location", g.prefix+"/v2/"+name+"/manifests/"+d.String())
	w.WriteHeader(http.StatusCreated)
}

func (g *registry) blob(w http.ResponseWriter, r *http.Request, name, reference string) {
	d := digest.Digest(reference)
	g.mu.Lock()
	in := g.at(name)
	content, ok := in.blobs[d]
	switch {
	case !ok:
		g.mu.Unlock()
		fail(w, http.StatusNotFound, "BLOB_UNKNOWN")
		return
	case r.Method == http.MethodDelete:
		defer g.mu.Unlock()
		delete(in.blobs, d)
		g.happened(fact{Action: "delete", Type: "blob", Repository: name, Digest: d})
		w.WriteHeader(http.StatusAccepted)
		return
	}
	g.mu.Unlock()
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if g.redirects != "" {
			http.Redirect(w, r, g.redirects+reference, http.StatusTemporaryRedirect)
			return
		}
		g.sayDigest(w, d)
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Etag", `"`+reference+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	default:
		fail(w, http.StatusMethodNotAllowed, "UNSUPPORTED")
	}
}

func (g *registry) begin(w http.ResponseWriter, r *http.Request, name, _ string) {
	if r.Method != http.MethodPost {
		fail(w, http.StatusMethodNotAllowed, "UNSUPPORTED")
		return
	}
	query := r.URL.Query()
	if mount := digest.Digest(query.Get("mount")); mount != "" {
		g.mu.Lock()
		from := query.Get("from")
		content, ok := g.at(from).blobs[mount]
		if ok {
			g.at(name).blobs[mount] = content
			g.happened(fact{Action: "mount", Type: "blob", Repository: name, From: from, Digest: mount, Size: int64(len(content)), MediaType: "application/octet-stream"})
		}
		g.mu.Unlock()
		if ok {
			g.created(w, name, mount)
			return
		}
	}
	if query.Has("digest") {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			fail(w, http.StatusBadRequest, "BLOB_UPLOAD_INVALID")
			return
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.finish(w, &pushing{repo: name, content: body}, query.Get("digest"))
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last++
	id := fmt.Sprintf("s%d", g.last)
	g.sessions[id] = &pushing{repo: name}
	g.state(w, r, id)
	w.WriteHeader(http.StatusAccepted)
}

// state says how far an upload is, and where it goes on. The caller holds the lock.
func (g *registry) state(w http.ResponseWriter, r *http.Request, id string) {
	s := g.sessions[id]
	switch path := g.prefix + "/v2/" + s.repo + "/blobs/uploads/"; {
	case g.location == "":
		w.Header().Set("Location", path+id)
	case g.location == "absolute":
		w.Header().Set("Location", "http://"+r.Host+path+id+"?state="+strconv.Itoa(len(s.content)))
	case strings.HasSuffix(g.location, "="):
		// Another at each request.
		g.last++
		next := fmt.Sprintf("s%d", g.last)
		delete(g.sessions, id)
		g.sessions[next] = s
		w.Header().Set("Location", g.location+next)
	default:
		w.Header().Set("Location", g.location+"/"+id)
	}
	if !g.noRange {
		w.Header().Set("Range", fmt.Sprintf("0-%d", max(len(s.content)-1, 0)))
	}
}

func (g *registry) goOn(w http.ResponseWriter, r *http.Request, name, id string) {
	var body []byte
	var err error
	if r.Method == http.MethodPatch || r.Method == http.MethodPut {
		body, err = io.ReadAll(r.Body)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sessions[id]
	if s == nil || name != "" && s.repo != name {
		fail(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		return
	}
	switch r.Method {
	case http.MethodGet:
		g.state(w, r, id)
		w.WriteHeader(http.StatusNoContent)
	case http.MethodDelete:
		delete(g.sessions, id)
		w.WriteHeader(http.StatusNoContent)
	case http.MethodPatch, http.MethodPut:
		if e := s.add(r, body, err); e != 0 {
			s.muddled = true
			if e == http.StatusRequestedRangeNotSatisfiable {
				w.Header().Set("Range", fmt.Sprintf("0-%d", max(len(s.content)-1, 0)))
			}
			fail(w, e, "BLOB_UPLOAD_INVALID")
			return
		}
		if r.Method == http.MethodPatch {
			g.state(w, r, id)
			w.WriteHeader(http.StatusAccepted)
			return
		}
		if g.finish(w, s, r.URL.Query().Get("digest")) {
			delete(g.sessions, id)
		}
	default:
		fail(w, http.StatusMethodNotAllowed, "UNSUPPORTED")
	}
}

// add adds what has come to an upload, and returns the status if it is wrong. What came
// before the client went away stays.
func (s *pushing) add(r *http.Request, body []byte, err error) int {
	if v := r.Header.Get("Content-Range"); v != "" {
		var from, to int
		if n, _ := fmt.Sscanf(v, "%d-%d", &from, &to); n != 2 || from != len(s.content) || to-from+1 != len(body) {
			return http.StatusRequestedRangeNotSatisfiable
		}
	}
	s.content = append(s.content, body...)
	if err != nil {
		return http.StatusBadRequest
	}
	return 0
}

// finish makes a blob of an upload. The caller holds the lock.
func (g *registry) finish(w http.ResponseWriter, s *pushing, want string) bool {
	d, err := digest.Parse(want)
	if err != nil || d != d.Algorithm().FromBytes(s.content) {
		s.muddled = true
		fail(w, http.StatusBadRequest, "DIGEST_INVALID")
		return false
	}
	g.at(s.repo).blobs[d] = s.content
	g.muddled[d] = g.muddled[d] || s.muddled
	g.happened(fact{Action: "push", Type: "blob", Repository: s.repo, Digest: d, Size: int64(len(s.content)), MediaType: "application/octet-stream"})
	g.created(w, s.repo, d)
	return true
}

func (g *registry) created(w http.ResponseWriter, name string, d digest.Digest) {
	g.sayDigest(w, d)
	w.Header().Set("Location", g.prefix+"/v2/"+name+"/blobs/"+d.String())
	w.WriteHeader(http.StatusCreated)
}

// errGone is of a client that has gone away.
var errGone = errors.New("client has gone")
