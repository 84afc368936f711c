package ociregistry

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
)

// response passes an answer on to the client and sees how it went.
type response struct {
	http.ResponseWriter
	status  int   // zero until the registry has said
	written int64 // bytes of the body
	broken  bool  // not all went through
	unsure  int64 // bytes of the Write that failed, which can have got there all the same
	keep    keep
	most    int64
	body    *copied // what is kept of it, or nil
}

// keep says whether to keep the body of an answer.
type keep int

const (
	nothing keep = iota
	unnamed      // if the registry does not say its digest
	always
)

// watch returns a response and the writer for the registry, which has the methods that
// the server's has.
func watch(w http.ResponseWriter, k keep, most int64) (*response, http.ResponseWriter) {
	_, flushes := w.(http.Flusher)
	_, reads := w.(io.ReaderFrom)
	_, hijacks := w.(http.Hijacker)
	_, pushes := w.(http.Pusher)
	_, notifies := w.(closeNotifier)
	inner := response{ResponseWriter: w, keep: k, most: most}
	switch {
	case flushes && reads && hijacks && notifies && !pushes:
		one := &http1{inner}
		return &one.response, one
	case flushes && pushes && notifies && !reads && !hijacks:
		two := &http2{inner}
		return &two.response, two
	}
	plain := new(response)
	*plain = inner // which stays off the heap where it is not the one
	return plain, dress(plain, flushes, reads, hijacks, pushes)
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *response) WriteHeader(status int) {
	w.begin(status)
	w.ResponseWriter.WriteHeader(status)
}

// begin notes the status: the first that is final.
func (w *response) begin(status int) {
	if w.status != 0 || status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	w.status = status
	if status == http.StatusOK && (w.keep == always || w.keep == unnamed && !isDigest(value(w.Header(), digestHeader))) {
		w.body = &copied{most: w.most}
	}
}

// end is called when the registry has answered. To say nothing means 200, unless there was
// nobody left to hear it: then it may mean anything.
func (w *response) end(r *http.Request) {
	if w.status == 0 && r.Context().Err() == nil {
		w.begin(http.StatusOK)
	}
}

func (w *response) Write(b []byte) (int, error) {
	w.begin(http.StatusOK)
	n, err := w.ResponseWriter.Write(b)
	w.wrote(int64(n), int64(len(b)), err)
	if w.body != nil {
		w.body.add(b[:n])
	}
	return n, err
}

func (w *response) WriteString(s string) (int, error) {
	if w.keep != nothing {
		return w.Write([]byte(s))
	}
	w.begin(http.StatusOK)
	n, err := io.WriteString(w.ResponseWriter, s)
	w.wrote(int64(n), int64(len(s)), err)
	return n, err
}

// wrote notes that n of so many bytes were written.
func (w *response) wrote(n, of int64, err error) {
	w.written += n
	if err != nil && !w.broken {
		w.broken, w.unsure = true, of-n
	}
}

// isSuccess says whether the registry has done what it was asked for. It has done so also
// where the client has gone, and does not hear of it.
func (w *response) isSuccess() bool { return w.status >= 200 && w.status < 300 }

// length returns how long the body is, in bytes: zero if the registry does not say it, and
// not all went through.
func (w *response) length() int64 {
	if w.encoded() {
		return 0
	}
	if n, ok := w.announced(); ok {
		return n
	}
	if w.broken {
		return 0
	}
	return w.written
}

// encoded says that what went to the client is not the content as it is stored.
func (w *response) encoded() bool {
	e := value(w.Header(), "Content-Encoding")
	return e != "" && e != "identity"
}

// isWhole says whether all of the body went to the client, or what lies between here and
// there.
func (w *response) isWhole() bool {
	if w.broken {
		return false
	}
	n, ok := w.announced()
	return !ok || n == w.written
}

// announced returns the Content-Length, if the registry has said it.
func (w *response) announced() (n int64, ok bool) {
	v := value(w.Header(), "Content-Length")
	if v == "" {
		return 0, false
	}
	n, err := strconv.ParseInt(v, 10, 64)
	return n, err == nil
}

// value is header.Get for a name in its canonical form, which need not be made of it.
func value(header http.Header, name string) string {
	if v := header[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// What a writer may have beside.

func (w *response) flush() {
	_ = w.flushError()
}

func (w *response) flushError() error {
	w.begin(http.StatusOK)
	err := http.NewResponseController(w.ResponseWriter).Flush()
	w.wrote(0, 0, err)
	return err
}

// readFrom lets the server copy by itself, which may not need the bytes to come by here.
func (w *response) readFrom(src io.Reader) (int64, error) {
	w.begin(http.StatusOK)
	if w.body != nil {
		return io.Copy(struct{ io.Writer }{w}, src)
	}
	n, err := w.ResponseWriter.(io.ReaderFrom).ReadFrom(src)
	w.wrote(n, n, err)
	return n, err
}

func (w *response) hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffer, err := w.ResponseWriter.(http.Hijacker).Hijack()
	if err == nil {
		w.status = http.StatusSwitchingProtocols // nobody knows what is said there
	}
	return conn, buffer, err
}

func (w *response) push(target string, options *http.PushOptions) error {
	return w.ResponseWriter.(http.Pusher).Push(target, options)
}

// closeNotifier is what http.CloseNotifier was, which old servers still ask for.
type closeNotifier interface{ CloseNotify() <-chan bool }

func (w *response) closeNotify() <-chan bool {
	return w.ResponseWriter.(closeNotifier).CloseNotify()
}
