package clients

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// network is between the clients and a server. For a step that is about that, it breaks
// down once.
type network struct {
	server http.Handler
	active atomic.Int64 // requests

	mu       sync.Mutex // guards the rest
	step     string
	breaks   bool // has still to break down
	specials int  // special requests
}

// soFar is how much of a body goes through before the network breaks down, in bytes.
const soFar = size / 5

var errBroken = errors.New("the network broke down")

// next is called at the beginning of each step.
func (n *network) next(step string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.step, n.specials = step, 0
	n.breaks = step == brokenUpload || step == brokenDownload
}

// brokeDown says whether the network has done what the step is about.
func (n *network) brokeDown() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.breaks
}

// counted returns how many requests of a step were special.
func (n *network) counted() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.specials
}

// meets counts a request, and says whether it may be one that breaks.
func (n *network) meets(r *http.Request) (upload, download bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if special := isSpecial[n.step]; special != nil && r.UserAgent() != own && special(r) {
		n.specials++
	}
	if !n.breaks || !strings.Contains(r.URL.Path, "/blobs/") {
		return false, false
	}
	upload = n.step == brokenUpload && (r.Method == http.MethodPatch || r.Method == http.MethodPut)
	return upload, n.step == brokenDownload && r.Method == http.MethodGet
}

func (n *network) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.active.Add(1)
	defer n.active.Add(-1)
	upload, download := n.meets(r)
	if !upload && !download {
		n.server.ServeHTTP(w, r)
		return
	}

	l := &line{left: soFar}
	through := *r
	if upload {
		through.Body = &body{r.Body, l}
	}
	n.server.ServeHTTP(&answer{w, l, download}, &through)
	if l.broke {
		n.mu.Lock()
		n.breaks = false
		n.mu.Unlock()
		panic(http.ErrAbortHandler) // cuts the client's connection
	}
}

// line is what one request goes over. The server may read in a goroutine of its own, but
// has done so when it answers.
type line struct {
	left  int // bytes
	broke bool
}

// take takes up to len(p) bytes through the line.
func (l *line) take(p []byte, through func([]byte) (int, error)) (int, error) {
	if l.left == 0 && len(p) > 0 {
		l.broke = true
	}
	if l.broke {
		return 0, errBroken
	}
	n, err := through(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

// body is that of an upload.
type body struct {
	io.ReadCloser
	line *line
}

func (b *body) Read(p []byte) (int, error) { return b.line.take(p, b.ReadCloser.Read) }

// answer is what comes back: of a download, through the line as well; otherwise nothing
// any more once the line broke.
type answer struct {
	http.ResponseWriter
	line     *line
	download bool
}

func (a *answer) WriteHeader(status int) {
	if !a.line.broke {
		a.ResponseWriter.WriteHeader(status)
	}
}

func (a *answer) Write(p []byte) (written int, err error) {
	if !a.download {
		if a.line.broke {
			return 0, errBroken
		}
		return a.ResponseWriter.Write(p)
	}
	for written < len(p) && err == nil {
		var n int
		n, err = a.line.take(p[written:], a.ResponseWriter.Write)
		written += n
	}
	return written, err
}
