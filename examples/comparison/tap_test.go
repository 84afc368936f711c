package comparison

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// tap is a client's connections to a server, and writes down what goes over them. The
// client does one thing after the other.
type tap struct {
	address string

	mu             sync.Mutex // guards the rest
	asked, answers bytes.Buffer
}

func (t *tap) dial(ctx context.Context) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", t.address)
	if err != nil {
		return nil, err
	}
	return tapped{c, t}, nil
}

// next returns all that has gone over the connections since the last call.
func (t *tap) next() exchange {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.asked.Reset()
	defer t.answers.Reset()
	return exchange{t.asked.String(), t.answers.String()}
}

type tapped struct {
	net.Conn
	tap *tap
}

func (c tapped) Write(p []byte) (int, error) {
	c.tap.mu.Lock()
	c.tap.asked.Write(p)
	c.tap.mu.Unlock()
	return c.Conn.Write(p)
}

func (c tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.tap.mu.Lock()
	c.tap.answers.Write(p[:n])
	c.tap.mu.Unlock()
	return n, err
}

// exchange is the bytes of a request, or of a few, and those that came back.
type exchange struct{ asked, answer string }

// chance is what a server answers differently each time that it runs, by its name.
var chance = []struct {
	what *regexp.Regexp
	is   string
}{
	{regexp.MustCompile(`(?m)^Date: .*\r$`), "Date: now\r"},
	// Distribution's name of an upload, which go-containerregistry has as a number, and what
	// distribution remembers of it: when it began, signed.
	{regexp.MustCompile(`(?m)^Docker-Upload-Uuid: [0-9a-f-]{36}\r$`), "Docker-Upload-Uuid: upload\r"},
	{regexp.MustCompile(`/blobs/uploads/([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{5,19})`), "/blobs/uploads/upload"},
	{regexp.MustCompile(`_state=[0-9A-Za-z_=%-]+`), "_state=state"},
	// What the parts of a multipart answer are separated by.
	{regexp.MustCompile(`(boundary=|--)[0-9a-f]{60}`), "${1}boundary"},
}

// fixed returns an exchange without what is chance.
func (e exchange) fixed() exchange {
	for _, c := range chance {
		e.asked, e.answer = c.what.ReplaceAllString(e.asked, c.is), c.what.ReplaceAllString(e.answer, c.is)
	}
	e.answer = lists.ReplaceAllStringFunc(e.answer, sorted)
	return e
}

// lists are those that go-containerregistry makes in the order of a map: of repositories,
// and of referrers.
var lists = regexp.MustCompile(`(?m)^\{"(repositories|schemaVersion":2,"mediaType":"application/vnd\.oci\.image\.index\.v1\+json","manifests)":\[.*\]\}$`)

// sorted returns such a list in an order.
func sorted(list string) string {
	head, rest, _ := strings.Cut(list, "[")
	var members []json.RawMessage
	if json.Unmarshal([]byte("["+strings.TrimSuffix(rest, "}")), &members) != nil {
		return list
	}
	slices.SortFunc(members, func(a, b json.RawMessage) int { return bytes.Compare(a, b) })
	b, err := json.Marshal(members)
	if err != nil {
		return list
	}
	return head + string(b) + "}"
}
