package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/registry-notifications/notifications"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The program gets real events, one of them twice, and ends when it has enough.
func TestRun(t *testing.T) {
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(t.Context(), write, []string{"-addr", "127.0.0.1:0", "-n", "2"})
		write.Close()
		ended <- err
	}()
	lines := bufio.NewScanner(read)
	require.True(t, lines.Scan())
	url, found := strings.CutPrefix(lines.Text(), "waiting for events at ")
	require.True(t, found)
	rest := make(chan []string)
	go func() {
		var all []string
		for lines.Scan() {
			all = append(all, lines.Text())
		}
		rest <- all
	}()

	endpoint, err := notifications.NewEndpoint("webhook", url, notifications.EndpointConfig{})
	require.NoError(t, err)
	push := notifications.NewEvent(notifications.ActionPush)
	push.Target = notifications.Target{Type: notifications.TypeManifest, Repository: "library/app", Tag: "v1", Digest: "sha256:1234"}
	push.Actor.Name = "ada"
	mount := notifications.NewEvent(notifications.ActionMount)
	mount.Target = notifications.Target{Type: notifications.TypeBlob, Repository: "library/copy", FromRepository: "library/app"}
	require.NoError(t, endpoint.Write(t.Context(), push, push, mount))
	require.NoError(t, endpoint.Close(t.Context()))

	require.NoError(t, <-ended)
	require.Equal(t, []string{
		"push manifest library/app:v1@sha256:1234 by ada",
		"mount blob library/copy from library/app",
	}, <-rest)
}

func TestSignalEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, run(ctx, new(bytes.Buffer), []string{"-addr", "127.0.0.1:0"}))
}

func TestRunErrors(t *testing.T) {
	require.Error(t, run(t.Context(), new(bytes.Buffer), []string{"-addr", "nowhere"}))
	require.Error(t, run(t.Context(), new(bytes.Buffer), []string{"-x"}))
}

func TestRefused(t *testing.T) {
	const v2 = "application/vnd.docker.distribution.events.v2+json"
	rc := &receiver{out: new(bytes.Buffer), seen: make(map[string]bool)}
	for _, c := range []struct {
		method, contentType, body string
		want                      int
	}{
		{"GET", v2, "", http.StatusMethodNotAllowed},
		{"POST", "text/plain", "hello", http.StatusUnsupportedMediaType},
		{"POST", v2, "hello", http.StatusBadRequest},
		{"POST", v2 + "; charset=utf-8", `{"events":[]}`, http.StatusOK},
	} {
		r := httptest.NewRequest(c.method, "/", strings.NewReader(c.body))
		r.Header.Set("Content-Type", c.contentType)
		w := httptest.NewRecorder()
		rc.ServeHTTP(w, r)
		require.Equal(t, c.want, w.Code, c)
	}
}
