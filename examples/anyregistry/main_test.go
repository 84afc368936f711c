package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDemonstration(t *testing.T) {
	var to bytes.Buffer
	out := &screen{to: &to}
	require.NoError(t, run(t.Context(), "127.0.0.1:0", out, demonstrate(out)), &to)
	require.True(t, out.closed)

	const (
		blob     = `  pu(?:sh|ll)    blob      library/app         [0-9a-f]{12}  +\d+ bytes  application/octet-stream`
		manifest = `[0-9a-f]{12}   583 bytes  application/vnd\.docker\.distribution\.manifest\.v2\+json`
	)
	want := strings.Split(`A registry at 127.0.0.1:\d+, and what happens in it:

crane push
BLOB
BLOB
BLOB
  push    manifest  library/app:v1      MANIFEST

crane pull
  pull    manifest  library/app:v1      MANIFEST
BLOB
BLOB
BLOB

crane tag
  pull    manifest  library/app:v1      MANIFEST
  push    manifest  library/app:latest  MANIFEST

crane delete of a tag
  delete  tag       library/app:latest

crane delete of a manifest
  delete  manifest  library/app         [0-9a-f]{12}

All 12 events have come\.
`, "\n")
	got := strings.Split(to.String(), "\n")
	require.Len(t, got, len(want), to.String())
	for i, l := range want {
		l = strings.NewReplacer("BLOB", blob, "MANIFEST", manifest).Replace(l)
		require.Regexp(t, "^"+l+"$", got[i])
	}
}

// With -serve a client of somebody else's makes events, until a signal comes.
func TestServe(t *testing.T) {
	ctx, signal := context.WithCancel(t.Context())
	read, write := io.Pipe()
	out := &screen{to: write}
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, "127.0.0.1:0", out, waitForYou(out))
		write.Close()
		ended <- err
	}()
	head := make([]byte, 1<<10)
	n, err := read.Read(head)
	require.NoError(t, err)
	host := regexp.MustCompile(`A registry at (\S+) prints`).FindSubmatch(head[:n])
	require.NotNil(t, host, string(head[:n]))

	lines := make(chan string, 1)
	go func() {
		rest, _ := io.ReadAll(read)
		lines <- string(rest)
	}()
	resp, err := http.Post("http://"+string(host[1])+
		"/v2/library/app/blobs/uploads/?digest=sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
		"application/octet-stream", strings.NewReader("hello"))
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusCreated, resp.StatusCode)
	http.DefaultClient.CloseIdleConnections()

	signal()
	require.NoError(t, <-ended)
	require.True(t, strings.HasSuffix(<-lines, "\n  push    blob      library/app         2cf24dba5fb0     5 bytes  application/octet-stream\n"))
}

func TestRunErrors(t *testing.T) {
	out := &screen{to: io.Discard}
	require.Error(t, run(t.Context(), "nowhere", out, waitForYou(out)))

	// Events that do not come are not passed over.
	ctx, cancel := context.WithCancel(t.Context())
	nothing := &screen{to: io.Discard}
	err := run(ctx, "127.0.0.1:0", new(sinktest.Fake), func(ctx context.Context, host string) error {
		cancel()
		return demonstrate(nothing)(ctx, host)
	})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, nothing.wait(ctx, 1), context.Canceled)
	require.NoError(t, nothing.wait(ctx, 0))
}

// The screen keeps the contract of a sink.
func TestScreen(t *testing.T) {
	var to bytes.Buffer
	s := &screen{to: &to}
	e := notifications.NewEvent(notifications.ActionDelete)
	e.Target = notifications.Target{Type: notifications.TypeRepository, Repository: "library/app"}
	require.NoError(t, s.Write(t.Context(), e))
	require.ErrorIs(t, s.Write(t.Context(), e, nil), notifications.ErrNilEvent)
	require.NoError(t, s.Close(t.Context()))
	require.ErrorIs(t, s.Write(t.Context(), e), notifications.ErrSinkClosed)
	require.Equal(t, "  delete  repository  library/app\n", to.String())
}
