package ociregistry_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/registry-notifications/notifications/internal/byterange"
)

// move is a request that a player makes.
type move struct {
	method, url string
	body        string
	streamed    bool // its length is not announced
	breaks      bool // and it does not come to its end
	headers     []string
	client      int
	leaves      int // after so many bytes of the answer, or -1: never
}

func (m *move) request() *http.Request {
	var body any
	switch {
	case m.breaks:
		body = io.MultiReader(strings.NewReader(m.body), broken{})
	case m.streamed:
		body = strings.NewReader(m.body)
	case m.body != "":
		body = m.body
	}
	r := request(m.method, m.url, body, m.headers...)
	r.Header.Set("User-Agent", "client "+strconv.Itoa(m.client))
	r.RemoteAddr = "192.0.2." + strconv.Itoa(m.client) + ":4711"
	return r
}

// got is what a client has got.
type got struct {
	status int
	header http.Header
	body   string
	left   bool // before the end
}

// player plays several clients of a registry, as chance has it.
type player struct {
	pick    func(n int) int // a number below n
	do      func(move) got
	fails   bool // bodies break, and clients leave
	uploads []*sending
}

// sending is an upload as its client sees it.
type sending struct {
	at, content string
	over        bool
}

var (
	names    = []string{"a", "b/c", "x/blobs/uploads", "manifests/manifests"}
	tags     = []string{"v1", "latest", "uploads", "manifests"}
	contents = []string{"", "0", "0123456789", strings.Repeat("layer ", 10), strings.Repeat("a longer one ", 300)}
)

func oneOf[T any](p *player, of []T) T { return of[p.pick(len(of))] }

// chance says yes once in n times.
func (p *player) chance(n int) bool { return p.pick(n) == n-1 }

// step makes one request.
func (p *player) step() {
	m := move{client: p.pick(3), leaves: -1}
	name := oneOf(p, names)
	base := "/v2/" + name
	switch p.pick(13) {
	case 0:
		m.method, m.url = "POST", base+"/blobs/uploads/"
		if got := p.do(m); got.status == http.StatusAccepted {
			p.uploads = append(p.uploads, &sending{at: got.header.Get("Location")})
		}
	case 1:
		m.method, m.body = "POST", oneOf(p, contents)
		m.url, m.streamed = base+"/blobs/uploads/?digest="+p.digestOf(m.body), p.chance(2)
		m.breaks = p.fails && p.chance(8)
		p.do(m)
	case 2, 3, 4, 5:
		p.goOn(m)
	case 6:
		m.method, m.url = "POST", base+"/blobs/uploads/?from="+oneOf(p, names)+"&mount="+p.digestOf(oneOf(p, contents))
		if got := p.do(m); got.status == http.StatusAccepted {
			p.uploads = append(p.uploads, &sending{at: got.header.Get("Location")})
		}
	case 7:
		m.method, m.body = "PUT", p.manifest()
		m.url, m.streamed = base+"/manifests/"+p.reference(m.body), p.chance(2)
		m.breaks = p.fails && p.chance(8)
		if p.chance(2) {
			m.headers = []string{"Content-Type", oneOf(p, []string{manifestType, indexType + "; charset=utf-8"})}
		}
		p.do(m)
	case 8:
		body := p.manifest()
		m.method, m.url = oneOf(p, []string{"GET", "GET", "HEAD"}), base+"/manifests/"+p.reference(body)
		if p.chance(4) {
			m.headers = []string{"If-None-Match", `"` + digest.FromString(body).String() + `"`}
		}
		p.leave(&m)
		p.do(m)
	case 9:
		m.method, m.url = "DELETE", base+"/manifests/"+p.reference(p.manifest())
		p.do(m)
	case 10:
		m.method, m.url = oneOf(p, []string{"GET", "GET", "GET", "HEAD"}), base+"/blobs/"+p.digestOf(oneOf(p, contents))
		if p.chance(2) {
			m.headers = []string{"Range", oneOf(p, []string{
				"bytes=0-", "bytes=0-4", "bytes=5-", "bytes=1-5", "bytes=-1", "bytes=-10", "bytes=9-9", "bytes=0-1,3-4", "bytes=3-4,6-7", "bytes=100-", "x",
			})}
		}
		p.leave(&m)
		p.do(m)
	case 11:
		if !p.chance(3) {
			break
		}
		m.method, m.url = "DELETE", base+"/blobs/"+p.digestOf(oneOf(p, contents))
		p.do(m)
	case 12:
		m.method = oneOf(p, []string{"GET", "GET", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
		m.url = oneOf(p, []string{
			"/v2/", "/v2/_catalog", base + "/tags/list", base + "/referrers/" + p.digestOf(contents[1]), base + "/blobs/uploads/",
			"/", "/v2/A/manifests/v1", "/v2/a//manifests/v1", base + "/manifests/", base + "/blobs/uploads/no-such", "/v2/a/../b/manifests/v1",
			base + "/blobs/uploads/%2e%2e", base + "/blobs/sha256:0", "/elsewhere", "/elsewhere?session=no", base + "/manifests/" + strings.Repeat("t", 129),
		})
		p.do(m)
	}
}

func (p *player) leave(m *move) {
	if p.fails && p.chance(3) {
		m.leaves = p.pick(12)
	}
}

// digestOf is that of a content, or, seldom, another.
func (p *player) digestOf(content string) string {
	if p.chance(8) {
		content += "!"
	}
	return digest.FromString(content).String()
}

// reference is a tag for a manifest, or its digest.
func (p *player) reference(manifest string) string {
	if p.chance(3) {
		return p.digestOf(manifest)
	}
	return oneOf(p, tags)
}

// manifest is one of a few.
func (p *player) manifest() string {
	one := oneOf(p, contents)
	image := `{"mediaType":"` + manifestType + `","config":{"digest":"` + digest.FromString(one).String() + `","size":` + strconv.Itoa(len(one)) + `}`
	switch p.pick(8) {
	case 0:
		return "no manifest"
	case 1, 2:
		return `{"mediaType":"` + indexType + `","manifests":[{"digest":"` + digest.FromString(image+"}").String() + `"}]}`
	case 3:
		return image + `,"subject":{"digest":"` + digest.FromString(contents[1]).String() + `"}}`
	}
	return image + "}"
}

// goOn goes on with an upload, as a rule with one that is not over.
func (p *player) goOn(m move) {
	if len(p.uploads) == 0 {
		return
	}
	s := p.uploads[max(0, len(p.uploads)-1-p.pick(4))]
	if s.over && !p.chance(4) {
		return
	}
	m.url = s.at
	switch kind := p.pick(10); kind {
	default:
		m.method, m.body = "PATCH", oneOf(p, []string{"0", "12345", "a part ", strings.Repeat("x", 100)})
		m.streamed = p.chance(2)
		m.breaks = p.fails && p.chance(8)
		if p.chance(2) {
			from := len(s.content)
			if p.chance(6) {
				from++
			}
			m.headers = []string{"Content-Range", contentRange(from, len(m.body))}
		}
		got := p.do(m)
		if got.status == http.StatusAccepted {
			s.content += m.body
			s.goesOnAt(got)
		}
	case 7:
		m.method = "GET"
		got := p.do(m)
		if got.status == http.StatusNoContent {
			s.goesOnAt(got)
		}
	case 8, 9:
		m.method = "PUT"
		if p.chance(2) {
			m.body = "the last"
			m.streamed = p.chance(2)
		}
		m.url = with(s.at, digest.Digest(p.digestOf(s.content+m.body)))
		if p.chance(12) {
			m.method, m.url, m.body = "DELETE", s.at, ""
		}
		if got := p.do(m); got.status < 300 {
			s.over = true
		} else if m.method == "PUT" {
			s.content += m.body // the registry has it
		}
	}
}

func (s *sending) goesOnAt(g got) {
	if at := g.header.Get("Location"); at != "" {
		s.at = at
	}
}

// inProcess returns how a player gets at a handler, and has the registry write down what
// the clients have pulled: it does not know that.
func (r *rig) inProcess(t testing.TB) func(move) got {
	broken := make(map[string]int64) // what a client has begun, and up to where it wanted it
	return func(m move) got {
		w := httptest.NewRecorder()
		var to http.ResponseWriter = w
		if m.leaves >= 0 {
			to = &leaving{w, m.leaves}
		}
		req := m.request()
		r.handler.ServeHTTP(to, req)
		g := got{status: w.Code, header: w.Header(), body: w.Body.String()}
		if length, err := strconv.Atoi(w.Header().Get("Content-Length")); err == nil && m.method == "GET" {
			g.left = len(g.body) < length
		}
		if name, d, ok := blobOf(req); ok && m.method == "GET" {
			key := strconv.Itoa(m.client) + name + string(d)
			if r.downloaded(broken, key, m, g) {
				r.mu.Lock()
				r.happened(pulled(name, string(r.at(name).blobs[d])))
				r.mu.Unlock()
			}
		}
		return g
	}
}

func blobOf(r *http.Request) (name string, d digest.Digest, ok bool) {
	i := strings.LastIndex(r.URL.Path, "/blobs/sha256:")
	if i < 0 {
		return "", "", false
	}
	return strings.TrimPrefix(r.URL.Path[:i], "/v2/"), digest.Digest(r.URL.Path[i+len("/blobs/"):]), true
}

// downloaded says whether a download has come to its client: with the first byte, or, if
// that broke off, with the last that it was missing. All of these contents are written at
// once, so of one that broke off the client can have all but the last byte.
func (r *rig) downloaded(broken map[string]int64, key string, m move, g got) bool {
	part := byterange.Part{From: 0, To: int64(len(g.body))}
	if n, err := strconv.ParseInt(g.header.Get("Content-Length"), 10, 64); err == nil {
		part.To = n
	}
	switch g.status {
	case http.StatusOK:
	case http.StatusPartialContent:
		if strings.HasPrefix(g.header.Get("Content-Type"), "multipart/") {
			return !g.left && bytes.Contains([]byte(g.body), []byte("Content-Range: bytes 0-"))
		}
		var ok bool
		if part, _, ok = byterange.ParseContent(g.header.Get("Content-Range")); !ok {
			return false // what net/http says of the end of nothing
		}
	default:
		return false
	}
	until, begun := broken[key]
	switch {
	case part.From == 0 && g.left:
		broken[key] = part.To
	case part.From == 0, begun && !g.left && part.From < until && part.To >= until:
		delete(broken, key)
		return true
	}
	return false
}
