package ociregistry

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// copied is a copy of a body, up to a limit.
type copied struct {
	most  int64
	bytes []byte
	over  bool
}

func (c *copied) add(b []byte) {
	if c.over || int64(len(c.bytes)+len(b)) > c.most {
		c.over, c.bytes = true, nil
		return
	}
	c.bytes = append(c.bytes, b...)
}

// whole returns the copy of a body of that size, or nil if it is not one of all of it.
func (c *copied) whole(size int64) []byte {
	if c == nil || c.over || int64(len(c.bytes)) != size {
		return nil
	}
	return c.bytes
}

// received is the body of a request on its way to the registry, which may read it in a
// goroutine of its own.
type received struct {
	io.ReadCloser

	mu   sync.Mutex // guards the rest
	n    int64      // bytes that were read
	eof  bool
	copy *copied // what is kept of it, or nil
}

// keep has up to so many bytes kept.
func (b *received) keep(most int64) { b.copy = &copied{most: most} }

// of returns the request with this body. A request without one has none.
func (b *received) of(r *http.Request) *http.Request {
	if r.Body == nil || r.Body == http.NoBody {
		b.eof = true
		return r
	}
	b.ReadCloser = r.Body
	watched := *r
	watched.Body = b
	return &watched
}

func (b *received) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n += int64(n)
	b.eof = b.eof || errors.Is(err, io.EOF)
	if b.copy != nil {
		b.copy.add(p[:n])
	}
	return n, err
}

// result returns how large the body is, in bytes, and what was kept of it. announced is
// what the client says, -1 if it does not. A registry that has read neither that much nor
// to the end has its own idea of the body: its size is unknown then, whatever was announced.
func (b *received) result(announced int64) (size int64, kept *copied) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.copy != nil {
		kept = &copied{most: b.copy.most, bytes: b.copy.bytes, over: b.copy.over}
	}
	if !b.eof && b.n != announced {
		return unknown, kept
	}
	return b.n, kept
}
