package receiver_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/receiver"
	"github.com/registry-notifications/notifications/signature"
	"github.com/registry-notifications/notifications/sinktest"
)

func TestMethods(t *testing.T) {
	f := new(sinktest.Fake)
	r := start(t, f, receiver.Config{})
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		req := r.request(withIDs("1"))
		req.Method = method
		got := r.do(req)
		assert.Equal(t, 405, got.status, method)
		assert.Equal(t, "POST", got.header.Get("Allow"), method)
	}
	assert.Empty(t, f.Events())
}

func TestMediaTypes(t *testing.T) {
	for contentType, status := range map[string]int{
		notifications.MediaTypeV2:                    200,
		notifications.MediaTypeV1:                    200,
		"application/json":                           200,
		"Application/JSON":                           200,
		"application/json; charset=utf-8":            200,
		notifications.MediaTypeV1 + ";charset=UTF-8": 200,
		notifications.MediaTypeV1 + "; charset":      200, // no parameter, but a type
		"":                                           415,
		"text/plain":                                 415,
		"application/x-www-form-urlencoded":          415,
		"application/vnd.docker.distribution.events.v3+json": 415,
		"application/jsonl":                                    415,
		"text/html; application/json":                          415,
		"application/vnd.docker.distribution.manifest.v2+json": 415,
	} {
		t.Run(contentType, func(t *testing.T) {
			f := new(sinktest.Fake)
			r := start(t, f, receiver.Config{})
			req := r.request(withIDs("1"))
			req.Header["Content-Type"] = []string{contentType}
			got := r.do(req)
			assert.Equal(t, status, got.status)
			if status == 415 {
				assert.Contains(t, got.header.Get("Accept"), "application/json")
				assert.Empty(t, f.Events())
			} else {
				assert.Equal(t, []string{"1"}, ids(f))
			}
		})
	}
}

func TestTwoContentTypes(t *testing.T) {
	r := start(t, new(sinktest.Fake), receiver.Config{})
	req := r.request(withIDs("1"))
	req.Header["Content-Type"] = []string{notifications.MediaTypeV1, "text/x-configured"}
	assert.Equal(t, 200, r.do(req).status, "distribution 2.x appends what is configured")
}

func TestContentEncodings(t *testing.T) {
	r := start(t, new(sinktest.Fake), receiver.Config{})
	for coding, status := range map[string]int{"": 200, "identity": 200, "Identity": 200, "gzip": 415, "br": 415, "identity, gzip": 415} {
		req := r.request(withIDs("1"))
		req.Header.Set("Content-Encoding", coding)
		got := r.do(req)
		assert.Equal(t, status, got.status, coding)
		if status == 415 {
			assert.Equal(t, "identity", got.header.Get("Accept-Encoding"), coding)
		}
	}
}

func TestBodies(t *testing.T) {
	deep := func(n int) string { return strings.Repeat(`{"a":[`, n) + strings.Repeat(`]}`, n) }
	for _, c := range []struct {
		name, body string
		status     int
		says       string
		takes      []string
	}{
		{"one event", withIDs("1"), 200, "", []string{"1"}},
		{"several", withIDs("1", "2", "3"), 200, "", []string{"1", "2", "3"}},
		{"none", `{"events":[]}`, 200, "", nil},
		{"white space", " \r\n\t{ \"events\" : [ { \"id\" : \"1\" } , {\"id\":\"2\"}\n]\t}\n", 200, "", []string{"1", "2"}},
		{"more members", `{"a":1,"b":[{}],"c":"}","events":[{"id":"1"}],"d":null}`, 200, "", []string{"1"}},
		{"an escaped name", `{"\u0065vents":[{"id":"1"}]}`, 200, "", []string{"1"}},
		{"quotes and braces in strings", `{"events":[{"id":"a\"}]{[\\"},{"id":"\\\""}]}`, 200, "", []string{`a"}]{[\`, `\"`}},
		{"an unknown action", `{"events":[{"id":"1","action":"frobnicate"}]}`, 200, "", []string{"1"}},
		{"unknown fields of any type", `{"events":[{"id":"1","x":[1,{"y":null}],"target":{"z":1e400},"actor":{"user_type":"bot","user":{}}}]}`, 200, "", []string{"1"}},
		{"null in known fields", `{"events":[{"id":"1","actor":null,"target":{"digest":null}}]}`, 200, "", []string{"1"}},
		{"deep, but JSON", `{"events":[{"id":"1","x":` + deep(1000) + `}]}`, 200, "", []string{"1"}},

		{"empty", ``, 400, "not an object with a list", nil},
		{"no JSON", `<html>`, 400, "not an object with a list", nil},
		{"a list", `[]`, 400, "not an object with a list", nil},
		{"null", `null`, 400, "not an object with a list", nil},
		{"no list of events", `{}`, 400, "not an object with a list", nil},
		{"another name", `{"event":[{"id":"1"}]}`, 400, "not an object with a list", nil},
		{"another case", `{"Events":[{"id":"1"}]}`, 400, "not an object with a list", nil},
		{"events are no list", `{"events":{"id":"1"}}`, 400, "not an object with a list", nil},
		{"events are null", `{"events":null}`, 400, "not an object with a list", nil},
		{"two lists", `{"events":[{"id":"1"}],"events":[{"id":"2"}]}`, 400, "more than one list", nil},
		{"something behind", withIDs("1") + `x`, 400, "behind the end", nil},
		{"a second envelope", withIDs("1") + withIDs("2"), 400, "behind the end", nil},
		{"a zero byte behind", withIDs("1") + "\x00", 400, "behind the end", nil},
		{"cut off", `{"events":[{"id":"1"}`, 400, "not JSON", nil},
		{"cut off in an event", `{"events":[{"id":"1"`, 400, "event 1 is not JSON", nil},
		{"cut off in a string", `{"events":[{"id":"1`, 400, "event 1 is not JSON", nil},
		{"no comma", `{"events":[{"id":"1"}{"id":"2"}]}`, 400, "not JSON", nil},
		{"a comma too many", `{"events":[{"id":"1"},]}`, 400, "not JSON", nil},
		{"only a comma", `{"events":[,]}`, 400, "not JSON", nil},
		{"a comma behind the list", `{"events":[{"id":"1"}],}`, 400, "not JSON", nil},
		{"a comma in front", `{,"events":[{"id":"1"}]}`, 400, "not JSON", nil},
		{"no colon", `{"events"[{"id":"1"}]}`, 400, "not JSON", nil},
		{"another member that is not JSON", `{"x":tru,"events":[{"id":"1"}]}`, 400, "not JSON", nil},
		{"another member that is missing", `{"x":,"events":[{"id":"1"}]}`, 400, "not JSON", nil},
		{"a null event", `{"events":[{"id":"1"},null]}`, 400, "event 2 is not an object", nil},
		{"an event that is text", `{"events":["1"]}`, 400, "event 1 is not an object", nil},
		{"an event that is a list", `{"events":[[]]}`, 400, "event 1 is not an object", nil},
		{"the wrong bracket", `{"events":[{"id":"1"]]}`, 400, "event 1 is not JSON", nil},
		{"an ID that is a number", `{"events":[{"id":"1"},{"id":2}]}`, 400, `event 2 has a value of another type than it should have: "id"`, nil},
		{"a size that is text", `{"events":[{"id":"1","target":{"size":"403"}}]}`, 400, `"target.size"`, nil},
		{"a timestamp that is none", `{"events":[{"id":"1","timestamp":"s3cret"}]}`, 400, "event 1 has a timestamp that is none", nil},
		{"data that is no base64", `{"events":[{"id":"1","target":{"data":"s3cret!"}}]}`, 400, "event 1 has a value that cannot be read", nil},
		{"too deep", `{"events":[{"id":"1","x":` + deep(10_000) + `}]}`, 400, "event 1 is not JSON", nil},
		{"too deep beside it", `{"x":` + deep(10_000) + `,"events":[{"id":"1"}]}`, 400, "not JSON", nil},
		{"far too deep", `{"events":[{"id":"1","x":` + strings.Repeat("[", 1_000_000), 400, "event 1 is not JSON", nil},
		{"too many events", `{"events":[` + strings.Repeat("{},", notifications.MaxEnvelopeEvents) + `{}]}`, 413, "allowed are 16384", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := new(sinktest.Fake)
			r := start(t, f, receiver.Config{})
			got := r.post(c.body)
			assert.Equal(t, c.status, got.status)
			assert.Contains(t, got.text, c.says)
			assert.NotContains(t, got.text, "s3cret")
			assert.NotContains(t, got.text, "\n", "one sentence")
			if c.takes == nil {
				assert.Empty(t, f.Blocks(), "nothing is written")
			} else {
				assert.Equal(t, c.takes, ids(f))
				assert.Len(t, f.Blocks(), 1)
			}
		})
	}
}

func TestMostEvents(t *testing.T) {
	f := new(sinktest.Fake)
	r := start(t, f, receiver.Config{})
	body := `{"events":[` + strings.Repeat("{},", notifications.MaxEnvelopeEvents-1) + `{}]}`
	assert.Equal(t, 200, r.post(body).status)
	assert.Len(t, f.Events(), notifications.MaxEnvelopeEvents, "events without an ID are never duplicates")
}

func TestBodyTooLarge(t *testing.T) {
	f := new(sinktest.Fake)
	body := withIDs("1")
	r := start(t, f, receiver.Config{MaxBytes: int64(len(body)), Window: -1})
	assert.Equal(t, 200, r.post(body).status, "one that just fits")

	got := r.post(body + " ")
	assert.Equal(t, 413, got.status)
	assert.Contains(t, got.text, fmt.Sprintf("allowed are %d bytes", len(body)))

	req := r.request(body + " ")
	req.ContentLength = -1 // nothing is announced
	assert.Equal(t, 413, r.do(req).status)
	assert.Len(t, f.Events(), 1)
}

// TestTooLargeIsNotRead: what announces that it is too large is answered before any of it
// has come.
func TestTooLargeIsNotRead(t *testing.T) {
	r := start(t, new(sinktest.Fake), receiver.Config{})
	answer, _ := rawPost(t, r, "Content-Length: 1000000000\r\n", "")
	assert.Equal(t, 413, answer.StatusCode)
	assert.True(t, answer.Close)
}

// rawPost sends a header, and what there is of a body.
func rawPost(t *testing.T, r *rig, header, body string) (*http.Response, net.Conn) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+header+"\r\n"+body)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	return resp, conn
}

func TestSlowBody(t *testing.T) {
	f := new(sinktest.Fake)
	r := start(t, f, receiver.Config{Timeout: 20 * time.Millisecond})
	answer, _ := rawPost(t, r, "Content-Length: 100\r\n", `{"events":`)
	assert.Equal(t, 408, answer.StatusCode)
	assert.True(t, answer.Close, "RFC 9110, 15.5.9, which the server sees to")
	assert.Empty(t, f.Events())
}

func TestShortBody(t *testing.T) {
	f := new(sinktest.Fake)
	r := start(t, f, receiver.Config{})
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"+withIDs("1"))
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, 400, resp.StatusCode)
	assert.Empty(t, f.Events())
}

func TestSinkErrors(t *testing.T) {
	refused := &notifications.DeliveryError{Kind: notifications.Refused, Status: 400}
	for name, c := range map[string]struct {
		err        error
		status     int
		retryAfter string
	}{
		"full":              {fmt.Errorf("hub: %w", notifications.ErrFull), 429, "1"},
		"closed":            {fmt.Errorf("hub: %w", notifications.ErrSinkClosed), 503, "5"},
		"refused":           {fmt.Errorf("relay: %w", refused), 422, ""},
		"transient":         {&notifications.DeliveryError{Kind: notifications.Transient, Status: 400}, 500, ""},
		"anything else":     {errors.New("disk s3cret is on fire"), 500, ""},
		"another's timeout": {context.DeadlineExceeded, 500, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := new(sinktest.Fake)
			r := start(t, f, receiver.Config{})
			f.Fail(1, c.err)
			got := r.post(withIDs("1", "2"))
			assert.Equal(t, c.status, got.status)
			assert.Equal(t, c.retryAfter, got.header.Get("Retry-After"))
			assert.NotContains(t, got.text, "s3cret")

			assert.Equal(t, 200, r.post(withIDs("1", "2")).status, "and the same again is no duplicate")
			assert.Equal(t, []string{"1", "2"}, ids(f))
			assert.Equal(t, uint64(2), r.Metrics().Events)
			assert.Zero(t, r.Metrics().Duplicates)
		})
	}
}

func TestSinkPanics(t *testing.T) {
	f := new(sinktest.Fake)
	logger, hook := logtest.NewNullLogger()
	r := start(t, f, receiver.Config{Keys: []signature.Key{parseKey(t, oldKey)}, Logger: logrus.NewEntry(logger)})
	post := func() int {
		req := r.request(withIDs("1"))
		sign(t, req, withIDs("1"), oldKey, 0)
		return r.do(req).status
	}
	f.Panic(2)
	assert.Equal(t, 500, post())
	assert.Equal(t, 500, post())
	assert.Equal(t, 200, post())

	require.Len(t, hook.AllEntries(), 2, "one line when it starts and one when it is over")
	first, last := hook.AllEntries()[0], hook.AllEntries()[1]
	assert.Equal(t, logrus.WarnLevel, first.Level)
	assert.ErrorContains(t, first.Data["error"].(error), "told to panic")
	assert.Equal(t, logrus.InfoLevel, last.Level)
	assert.Equal(t, 2, last.Data["failures"])
}

func TestSlowSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := new(sinktest.Fake)
		release := f.Hold()
		defer release()
		r, err := receiver.New(f, receiver.Config{Logger: quiet()})
		require.NoError(t, err)
		began := time.Now()
		got := serve(r, withIDs("1"))
		assert.Equal(t, 429, got.Code)
		assert.Equal(t, "1", got.Header().Get("Retry-After"))
		assert.Equal(t, receiver.DefaultTimeout, time.Since(began))
	})
}

func TestMaxInFlight(t *testing.T) {
	f := new(sinktest.Fake)
	release := f.Hold()
	defer release()
	r := start(t, f, receiver.Config{MaxInFlight: 2})
	first, second := r.postLater(withIDs("1")), r.postLater(withIDs("2"))
	sinktest.Eventually(t, func() bool { return r.Metrics().InFlight == 2 }, "both are in flight")

	got := r.post(withIDs("3"))
	assert.Equal(t, 429, got.status)
	assert.Equal(t, "1", got.header.Get("Retry-After"))
	release()
	assert.Equal(t, 200, (<-first).status)
	assert.Equal(t, 200, (<-second).status)
	assert.Equal(t, 200, r.post(withIDs("3")).status)
	assert.ElementsMatch(t, []string{"1", "2", "3"}, ids(f))
	assert.Zero(t, r.Metrics().InFlight)
}

// contexts is a sink that sees the context.
type contexts struct {
	sinktest.Fake
	got chan context.Context
	end chan struct{}
}

func (c *contexts) Write(ctx context.Context, events ...*notifications.Event) error {
	c.got <- ctx
	<-c.end
	return errors.Join(ctx.Err(), c.Fake.Write(ctx, events...))
}

// TestSenderLeaves: what has begun is written to its end, so that the same is a duplicate
// when it comes again.
func TestSenderLeaves(t *testing.T) {
	sink := &contexts{got: make(chan context.Context, 1), end: make(chan struct{})}
	r := start(t, sink, receiver.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := http.DefaultTransport.RoundTrip(r.request(withIDs("1")).WithContext(ctx))
		left <- err
	}()
	seen := <-sink.got
	cancel()
	require.Error(t, <-left)
	deadline, ok := seen.Deadline()
	assert.True(t, ok)
	assert.LessOrEqual(t, time.Until(deadline), receiver.DefaultTimeout)
	assert.NotNil(t, seen.Value(http.ServerContextKey), "the values of the request are there")

	close(sink.end)
	sinktest.Eventually(t, func() bool { return r.Metrics().Events == 1 }, "it is taken all the same")
	assert.Equal(t, 200, r.post(withIDs("1")).status)
	assert.Equal(t, []string{"1"}, sinktest.IDs(sink.Events()))
}

func TestClose(t *testing.T) {
	f := new(sinktest.Fake)
	release := f.Hold()
	r := start(t, f, receiver.Config{})
	inside := r.postLater(withIDs("1"))
	f.WaitBusy(t)

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	err := r.Close(ctx)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, "1 requests still in progress")
	got := r.post(withIDs("2"))
	assert.Equal(t, 503, got.status)
	assert.Equal(t, "5", got.header.Get("Retry-After"))

	again := make(chan error, 1)
	go func() { again <- r.Close(context.Background()) }()
	release()
	assert.NoError(t, <-again)
	assert.Equal(t, 200, (<-inside).status, "what was inside gets its answer")
	assert.NoError(t, r.Close(t.Context()))
	assert.Equal(t, []string{"1"}, ids(f))
	assert.False(t, f.Closed(), "the sink stays the caller's")
}

func TestMetrics(t *testing.T) {
	r := start(t, new(sinktest.Fake), receiver.Config{})
	r.post(withIDs("1", "2", "2"))
	r.post(withIDs("2", "3"))
	r.post(`{}`)
	want := receiver.Metrics{Answers: map[string]uint64{"200 OK": 2, "400 Bad Request": 1}, Events: 3, Duplicates: 2}
	assert.Equal(t, want, r.Metrics())
	var got receiver.Metrics
	require.NoError(t, json.Unmarshal([]byte(r.String()), &got))
	assert.Equal(t, want, got)
	r.Metrics().Answers["200 OK"] = 7
	assert.Equal(t, want, r.Metrics(), "the counts are the caller's own")
}

func TestBadConfig(t *testing.T) {
	key := parseKey(t, oldKey)
	for field, config := range map[string]receiver.Config{
		"keys[0]: the zero Key":                 {Keys: []signature.Key{{}}},
		"keys: 9: allowed are 1 to 8":           {Keys: nine(key)},
		"tolerance: -1s: allowed":               {Keys: []signature.Key{key}, Tolerance: -time.Second},
		"tolerance: 1s: is for":                 {Tolerance: time.Second},
		"maxbytes: -1: allowed":                 {MaxBytes: -1},
		"maxinflight: -1: allowed":              {MaxInFlight: -1},
		"timeout: -1s: allowed":                 {Timeout: -time.Second},
		"window: -2: allowed are -1":            {Window: -2},
		"authorization[1]: [redacted]: allowed": {Authorization: []string{"Bearer x", ""}},
		"authorization[0]: [redacted]: allowed": {Authorization: []string{"Bearer s3cret\n"}},
	} {
		_, err := receiver.New(new(sinktest.Fake), config)
		assert.ErrorContains(t, err, "receiver: "+field)
		assert.ErrorAs(t, err, new(*notifications.ConfigError))
		assert.NotContains(t, fmt.Sprint(err), "s3cret")
	}
	_, err := receiver.New(nil, receiver.Config{})
	assert.ErrorContains(t, err, "sink: nil")
}

func nine(k signature.Key) (keys []signature.Key) {
	for range 9 {
		keys = append(keys, k)
	}
	return keys
}

// TestEventsKeepNoMore: an event that is kept for long keeps its own bytes, not those of
// its envelope.
func TestEventsKeepNoMore(t *testing.T) {
	f := new(sinktest.Fake)
	r := start(t, f, receiver.Config{})
	body := []byte(withIDs("1", "2"))
	require.Equal(t, 200, r.post(string(body)).status)
	before := encodings(t, f.Events())
	for range 20 { // the buffer of the first body is used again
		require.Equal(t, 200, r.post(`{"events":[`+strings.Repeat(" ", len(body))+`]}`).status)
	}
	assert.Equal(t, before, encodings(t, f.Events()))
	assert.True(t, bytes.Contains(body, []byte(before[0])))
}
