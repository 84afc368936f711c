package ociregistry

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// A server finds out by type assertion what its writer can do, so each set of methods
// needs a type. The two that the standard library's server has are here in one piece,
// and cost one allocation; the others are put together.

// http1 is a response by HTTP/1.
type http1 struct{ response }

func (w *http1) Flush()                                       { w.flush() }
func (w *http1) FlushError() error                            { return w.flushError() }
func (w *http1) ReadFrom(src io.Reader) (int64, error)        { return w.readFrom(src) }
func (w *http1) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.hijack() }
func (w *http1) CloseNotify() <-chan bool                     { return w.closeNotify() }

// http2 is a response by HTTP/2.
type http2 struct{ response }

func (w *http2) Flush()                                   { w.flush() }
func (w *http2) FlushError() error                        { return w.flushError() }
func (w *http2) Push(t string, o *http.PushOptions) error { return w.push(t, o) }
func (w *http2) CloseNotify() <-chan bool                 { return w.closeNotify() }

type flusher struct{ w *response }

func (f flusher) Flush()            { f.w.flush() }
func (f flusher) FlushError() error { return f.w.flushError() }

type readerFrom struct{ w *response }

func (r readerFrom) ReadFrom(src io.Reader) (int64, error) { return r.w.readFrom(src) }

type hijacker struct{ w *response }

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) { return h.w.hijack() }

type pusher struct{ w *response }

func (p pusher) Push(t string, o *http.PushOptions) error { return p.w.push(t, o) }

// dress returns a writer with just those methods.
func dress(w *response, flushes, reads, hijacks, pushes bool) http.ResponseWriter {
	type has struct{ flushes, reads, hijacks, pushes bool }
	f, r, h, p := flusher{w}, readerFrom{w}, hijacker{w}, pusher{w}
	switch (has{flushes, reads, hijacks, pushes}) {
	case has{true, false, false, false}:
		return struct {
			*response
			flusher
		}{w, f}
	case has{false, true, false, false}:
		return struct {
			*response
			readerFrom
		}{w, r}
	case has{false, false, true, false}:
		return struct {
			*response
			hijacker
		}{w, h}
	case has{false, false, false, true}:
		return struct {
			*response
			pusher
		}{w, p}
	case has{true, true, false, false}:
		return struct {
			*response
			flusher
			readerFrom
		}{w, f, r}
	case has{true, false, true, false}:
		return struct {
			*response
			flusher
			hijacker
		}{w, f, h}
	case has{true, false, false, true}:
		return struct {
			*response
			flusher
			pusher
		}{w, f, p}
	case has{false, true, true, false}:
		return struct {
			*response
			readerFrom
			hijacker
		}{w, r, h}
	case has{false, true, false, true}:
		return struct {
			*response
			readerFrom
			pusher
		}{w, r, p}
	case has{false, false, true, true}:
		return struct {
			*response
			hijacker
			pusher
		}{w, h, p}
	case has{true, true, true, false}:
		return struct {
			*response
			flusher
			readerFrom
			hijacker
		}{w, f, r, h}
	case has{true, true, false, true}:
		return struct {
			*response
			flusher
			readerFrom
			pusher
		}{w, f, r, p}
	case has{true, false, true, true}:
		return struct {
			*response
			flusher
			hijacker
			pusher
		}{w, f, h, p}
	case has{false, true, true, true}:
		return struct {
			*response
			readerFrom
			hijacker
			pusher
		}{w, r, h, p}
	case has{true, true, true, true}:
		return struct {
			*response
			flusher
			readerFrom
			hijacker
			pusher
		}{w, f, r, h, p}
	}
	return w
}
