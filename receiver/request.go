package receiver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/registry-notifications/notifications"
)

// acceptable are the media types of an envelope: distribution 2.x, GitLab's registry and
// all that is written for them say v1, distribution 3.x and an Endpoint v2, and who sends
// by hand says that it is JSON. It is the same in each.
var acceptable = []string{notifications.MediaTypeV2, notifications.MediaTypeV1, "application/json"}

// checkHeader refuses what need not be read.
func checkHeader(req *http.Request, maxBytes int64) *answer {
	if req.Method != http.MethodPost {
		a := refused(http.StatusMethodNotAllowed, "allowed is POST")
		a.header = [2]string{"Allow", http.MethodPost}
		return a
	}
	// Of two, which registries send whose configuration has one, too, the first counts: it
	// is their own.
	if !isAcceptable(req.Header.Get("Content-Type")) {
		all := strings.Join(acceptable, ", ")
		a := refused(http.StatusUnsupportedMediaType, "Content-Type: allowed are "+all)
		a.header = [2]string{"Accept", all}
		return a
	}
	for _, coding := range req.Header["Content-Encoding"] {
		if coding != "" && !strings.EqualFold(coding, "identity") {
			// No sender compresses, and what is compressed can be a thousand times as large.
			a := refused(http.StatusUnsupportedMediaType, "Content-Encoding: allowed is none")
			a.header = [2]string{"Accept-Encoding", "identity"}
			return a
		}
	}
	if req.ContentLength > maxBytes {
		return bodyTooLarge(maxBytes)
	}
	return nil
}

func isAcceptable(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return false // parameters do not matter, JSON has none
	}
	for _, a := range acceptable {
		if mediaType == a {
			return true
		}
	}
	return false
}

func bodyTooLarge(maxBytes int64) *answer {
	return tooLarge(fmt.Sprintf("the body is too large: allowed are %d bytes", maxBytes))
}

// bodies are buffers for what is read. An event has a copy of its bytes, so that one that
// is kept for long keeps nothing but itself, and the buffer can be used for the next body.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxKept is up to what size a buffer is kept, in bytes: a little more than what an
// Endpoint sends.
const maxKept = 2 << 20

func release(body *bytes.Buffer) {
	if body.Cap() <= maxKept {
		body.Reset()
		bodies.Put(body)
	}
}

// maxAhead is up to what size a buffer is made for what was announced, in bytes: what an
// Endpoint sends. Beyond it, it grows with what comes.
const maxAhead = 1 << 20

// readBody reads a body into a buffer.
func readBody(w http.ResponseWriter, req *http.Request, into *bytes.Buffer, maxBytes int64, deadline time.Time) *answer {
	// The server ends the deadline with the body. Whoever serves without a connection (a
	// test's recorder) has none, and a body that does not hang.
	_ = http.NewResponseController(w).SetReadDeadline(deadline)
	into.Grow(int(min(max(req.ContentLength, 0), maxBytes, maxAhead)) + bytes.MinRead)
	_, err := into.ReadFrom(http.MaxBytesReader(w, req.Body, maxBytes))

	var large *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &large):
		return bodyTooLarge(maxBytes)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refused(http.StatusRequestTimeout, "the body took too long")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refused(http.StatusBadRequest, "the body ends too early")
	}
	return refused(http.StatusBadRequest, "the body cannot be read")
}
