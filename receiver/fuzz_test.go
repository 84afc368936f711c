package receiver_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/receiver"
	"github.com/registry-notifications/notifications/signature"
	"github.com/registry-notifications/notifications/sinktest"
)

// FuzzRequest: whatever comes, nothing panics, and 200 is said only to somebody who may send
// and when the sink has every event, with its bytes.
func FuzzRequest(f *testing.F) {
	const post = http.MethodPost
	const plain = "application/json"
	f.Add(post, plain, "", "Bearer t0ken", "", withIDs("1", "2", "1"), byte(0))
	f.Add(post, notifications.MediaTypeV1+"; charset=utf-8", "identity", "", "v1,x", withIDs("1"), byte(1))
	f.Add(post, notifications.MediaTypeV2, "gzip", "Basic x", "", `{"events":[{}]}`, byte(2))
	f.Add("GET", "text/html", "", "", "", gitlab, byte(3))
	f.Add(post, plain, "", "Bearer t0ken", "", strange, byte(4))
	f.Add(post, plain, "", "Bearer t0ken", "", `{"x":"\"}","events":[{"id":"a\\"}, {"id":"\u0041"}]}`, byte(0))
	f.Fuzz(func(t *testing.T, method, contentType, coding, authorization, signed, body string, how byte) {
		sink := new(sinktest.Fake)
		switch how % 5 {
		case 1:
			sink.Panic(1)
		case 2:
			sink.Fail(1, notifications.ErrFull)
		case 3:
			sink.Fail(1, errors.New("boom"))
		}
		r, err := receiver.New(sink, receiver.Config{
			Keys: []signature.Key{parseKey(t, oldKey)}, Authorization: []string{"Bearer t0ken"},
			MaxBytes: 1 << 16, Window: 4, Logger: quiet(),
		})
		require.NoError(t, err)
		req := httptest.NewRequest(post, "/", strings.NewReader(body))
		req.Method = method
		req.Header = http.Header{
			"Content-Type": {contentType}, "Content-Encoding": {coding}, "Authorization": {authorization},
		}
		right := how%2 == 0
		if right {
			sign(t, req, body, oldKey, 0)
		} else {
			req.Header["Webhook-Id"] = []string{"msg"}
			req.Header["Webhook-Timestamp"] = []string{"1700000000"}
			req.Header["Webhook-Signature"] = []string{signed}
		}

		for range 2 {
			again := req.Clone(req.Context())
			again.Body = http.NoBody
			if body != "" {
				again.Body = httptest.NewRequest(post, "/", strings.NewReader(body)).Body
			}
			w := httptest.NewRecorder()
			r.ServeHTTP(w, again)
			if w.Code != http.StatusOK {
				require.GreaterOrEqual(t, w.Code, 400)
				continue
			}
			require.True(t, right || authorization == "Bearer t0ken", "somebody else came in")
			taken := make(map[string]bool)
			for _, e := range encodings(t, sink.Events()) {
				taken[e] = true
			}
			byID := make(map[string]bool)
			for _, id := range sinktest.IDs(sink.Events()) {
				byID[id] = true
			}
			for _, raw := range eventsIn(t, body) {
				e := new(notifications.Event)
				require.NoError(t, json.Unmarshal([]byte(raw), e))
				require.True(t, byID[e.ID], "the sink has not got %q", raw)
				require.True(t, e.ID != "" || taken[raw], "the sink has other bytes than %q", raw)
			}
		}
		m := r.Metrics()
		require.EqualValues(t, len(sink.Events()), m.Events)
		require.Zero(t, m.InFlight)
	})
}

// FuzzDecode compares what a body is cut into with what DecodeEnvelope and encoding/json
// make of it.
func FuzzDecode(f *testing.F) {
	for _, req := range captured(f)[:4] {
		f.Add(req.Body)
	}
	for _, body := range []string{
		gitlab, strange, withIDs("1", "2"), `{"a":1,"events":[{"id":"}"},{"x":"\\\""}],"b":[{}]}`,
		`{"events":[{}],"events":[]}`, `{"events":[{"a":1]]}`, `{"events":[{}}`, "{\"events\":[{\"id\":\"\xff\"}]}",
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		got, reason := receiver.Decode([]byte(body))
		want, err := notifications.DecodeEnvelope(notifications.MediaTypeV2, strings.NewReader(body), 0)
		if reason != "" {
			require.True(t, err != nil || !json.Valid([]byte(body)) || strings.Contains(reason, "more than one list"), "refused: %s", reason)
			return
		}
		require.NoError(t, err, "taken")
		require.True(t, json.Valid([]byte(body)), "taken, and no JSON")
		require.Equal(t, encodings(t, want.Events), encodings(t, got))
	})
}
