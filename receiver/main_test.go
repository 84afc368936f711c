package receiver_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/receiver"
	"github.com/registry-notifications/notifications/signature"
	"github.com/registry-notifications/notifications/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	oldKey     = "whsec_b2xkLWtleS1vbGQta2V5LW9sZC1rZXktb2xk"
	newKey     = "whsec_bmV3LWtleS1uZXcta2V5LW5ldy1rZXktbmV3"
	privateKey = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
)

func quiet() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

// rig is a receiver behind a server.
type rig struct {
	t testing.TB
	*receiver.Receiver
	url string
}

func start(t testing.TB, sink notifications.Sink, config receiver.Config) *rig {
	t.Helper()
	if config.Logger == nil {
		config.Logger = quiet()
	}
	r, err := receiver.New(sink, config)
	require.NoError(t, err)
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	return &rig{t, r, server.URL}
}

// reply is what a sender gets.
type reply struct {
	status int
	header http.Header
	text   string
}

func (r *rig) do(req *http.Request) reply {
	r.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	require.NoError(r.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	return reply{resp.StatusCode, resp.Header, strings.TrimSpace(string(text))}
}

func (r *rig) request(body string) *http.Request {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodPost, r.url, strings.NewReader(body))
	require.NoError(r.t, err)
	req.Header.Set("Content-Type", notifications.MediaTypeV2)
	return req
}

func (r *rig) post(body string) reply {
	r.t.Helper()
	return r.do(r.request(body))
}

// postLater posts in a goroutine of its own.
func (r *rig) postLater(body string) <-chan reply {
	done := make(chan reply, 1)
	go func() { done <- r.post(body) }()
	return done
}

// serve has a request served without a network, for tests in which time is not real.
func serve(r *receiver.Receiver, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	req.Header.Set("Content-Type", notifications.MediaTypeV2)
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w
}

// withIDs is the envelope of events that have nothing but an ID.
func withIDs(ids ...string) string {
	var b bytes.Buffer
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		quoted, _ := json.Marshal(id)
		b.WriteString(`{"id":` + string(quoted) + `}`)
	}
	return `{"events":[` + b.String() + `]}`
}

func parseKey(t testing.TB, text string) signature.Key {
	t.Helper()
	k, err := signature.ParseKey(text)
	require.NoError(t, err)
	return k
}

// sign signs a request now, or as long ago.
func sign(t testing.TB, req *http.Request, body, key string, ago time.Duration) {
	t.Helper()
	s, err := signature.NewSigner(parseKey(t, key))
	require.NoError(t, err)
	require.NoError(t, s.Sign(req.Header, "msg_1", time.Now().Add(-ago), []byte(body)))
}

// encodings returns the bytes of events.
func encodings(t testing.TB, events []*notifications.Event) (all []string) {
	t.Helper()
	for _, e := range events {
		b, err := e.MarshalJSON()
		require.NoError(t, err)
		all = append(all, string(b))
	}
	return all
}

func ids(f *sinktest.Fake) []string { return sinktest.IDs(f.Events()) }
