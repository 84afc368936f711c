package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// asProgram has the test binary be the program, which the demonstration runs.
const asProgram = "DISTRIBUTION_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

func TestDemonstration(t *testing.T) {
	t.Setenv(asProgram, "yes")
	var out bytes.Buffer
	require.NoError(t, demonstrate(t.Context(), &out), &out)

	const (
		blob     = `  (push|pull)    blob      library/app                  [0-9a-f]{12}   \d{3} bytes`
		manifest = `  (push|pull)    manifest  library/app:(v[12])               [0-9a-f]{12}   423 bytes`
	)
	want := strings.Split(`A stock server at 127.0.0.1:\d+ tells a webhook at 127.0.0.1:\d+\.

crane push and pull
BLOB
BLOB
MANIFEST
MANIFEST
BLOB
BLOB

The webhook refuses\. crane push of v2, and the server ends\.

The webhook is back\. So is the server, with what it had in its journal:
BLOB
BLOB
MANIFEST

All 9 events have come\.
`, "\n")
	got := strings.Split(out.String(), "\n")
	require.Len(t, got, len(want), out.String())
	for i, l := range want {
		require.Regexp(t, "^"+strings.NewReplacer("BLOB", blob, "MANIFEST", manifest).Replace(l)+"$", got[i])
	}
	for line, begins := range map[int]string{3: "  push", 5: "  push    manifest  library/app:v1", 6: "  pull    manifest  library/app:v1", 13: "  push", 15: "  push    manifest  library/app:v2"} {
		require.True(t, strings.HasPrefix(got[line], begins), got[line])
	}
}

// What is wrong with a configuration is said.
func TestServerDoesNotStart(t *testing.T) {
	t.Setenv(asProgram, "yes")
	path := filepath.Join(t.TempDir(), "config.yml")
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(config, "timeout: 5s", "timeout: 500", 1)), 0o600))
	_, err := startServer(t.Context(), path)
	require.ErrorContains(t, err, "middleware.registry.notifications.endpoints[0].timeout: 500: allowed is text with a unit")
}

// What stands in config.yml as a comment works as well.
func TestCommentedOptions(t *testing.T) {
	t.Setenv(asProgram, "yes")
	t.Setenv("WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "webhook-token"), []byte("token\n"), 0o600))
	all := strings.NewReplacer(
		"            # ", "            ", "/run/secrets/", dir+"/", "/tmp/", dir+"/", "127.0.0.1:5000", "127.0.0.1:0",
	).Replace(config)
	require.Contains(t, all, "\n            images: true")
	path := filepath.Join(dir, "config.yml")
	require.NoError(t, os.WriteFile(path, []byte(all), 0o600))
	s, err := startServer(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, s.stop())
}

// A signal ends the demonstration, and with it the server.
func TestDemonstrationIsCancelled(t *testing.T) {
	t.Setenv(asProgram, "yes")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, demonstrate(ctx, new(bytes.Buffer)), context.Canceled)

	ctx, cancel = context.WithCancel(t.Context())
	out := &cancelling{cancel: cancel}
	require.ErrorIs(t, demonstrate(ctx, out), context.Canceled)
	require.NotContains(t, out.String(), "All 9 events")
}

// cancelling cancels when an event is printed.
type cancelling struct {
	bytes.Buffer
	cancel func()
}

func (c *cancelling) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("push    blob")) {
		c.cancel()
	}
	return c.Buffer.Write(b)
}

// The webhook prints an event once, however often it comes, and refuses what is none.
func TestWebhook(t *testing.T) {
	var out bytes.Buffer
	hook := &webhook{to: &out, seen: make(map[string]bool)}
	post := func(body string) int {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/vnd.docker.distribution.events.v2+json")
		w := httptest.NewRecorder()
		hook.ServeHTTP(w, r)
		return w.Code
	}
	const mount = `{"id":"1","timestamp":"2026-01-01T00:00:00Z","action":"mount","target":{"type":"blob","repository":"a/b","fromRepository":"c/d"}}`
	require.Equal(t, http.StatusOK, post(`{"events":[`+mount+`,`+mount+`]}`))
	require.Equal(t, http.StatusOK, post(`{"events":[`+mount+`]}`))
	require.Equal(t, "  mount   blob      a/b <- c/d\n", out.String())
	require.Equal(t, http.StatusBadRequest, post("hello"))
	hook.refuse(true)
	require.Equal(t, http.StatusServiceUnavailable, post(`{"events":[`+mount+`]}`))
}
