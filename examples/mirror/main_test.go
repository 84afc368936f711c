package main

import (
	"bytes"
	"context"
	"flag"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/registry-notifications/notifications/observer"
)

// asProgram has the test binary be the program, whose sides are processes of their own.
const asProgram = "MIRROR_TEST_AS_PROGRAM"

var long = flag.Bool("long", false, "kill the sides more often")

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	logrus.SetLevel(logrus.PanicLevel) // a stock server says of each request that it was one
	goleak.VerifyTestMain(m,
		// Of a stock application this one outlives Shutdown.
		goleak.IgnoreAnyFunction("github.com/docker/go-events.(*Broadcaster).run"),
	)
}

// TestRun runs the program as it is without arguments: each side is killed once.
func TestRun(t *testing.T) {
	t.Setenv(asProgram, "yes")
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, nil), &out)

	agrees(t, out.String())
	assert.Regexp(t, `(?m)^kill -9 of the mirror side, \S+ after the client went on\. It is away\.
The mirror side starts again\.
(  loading .*\n)*  loading \[#{20}\] 100%  (\d+) of (\d+) events, \d+ repositories

kill -9 of the source side, \S+ after the client went on\. It is away\.
The source side starts again\.
$`, out.String())
	assert.Contains(t, out.String(), "The client has done 54 pushes and 10 deletes.")
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// TestKills: a side is killed at a random moment, again and again, and in the end nothing is
// missing and nothing is too much.
func TestKills(t *testing.T) {
	if !*long {
		t.Skip("with -long: TestRun kills each side once")
	}
	t.Setenv(asProgram, "yes")
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, []string{"-kills", "2"}), &out)
	agrees(t, out.String())
	assert.Equal(t, 4, strings.Count(out.String(), "kill -9 of the "))
}

// agrees checks what the program says of two registries that have the same.
func agrees(t *testing.T, out string) {
	t.Helper()
	assert.True(t, strings.HasSuffix(out, "\nBoth have the same, and what the mirror has is whole.\n"), out)
	for _, what := range []string{"repositories", "tags", "manifests"} {
		m := regexp.MustCompile(`(?m)^` + what + ` +(\d+) +(\d+)$`).FindStringSubmatch(out)
		require.NotNil(t, m, out)
		assert.Equal(t, m[1], m[2], what)
		assert.NotEqual(t, "0", m[1], what)
	}
	for _, line := range strings.Split(out, "\n") {
		assert.LessOrEqual(t, len(line), 120)
		assert.NotContains(t, line, "\r")
	}
}

func TestRunErrors(t *testing.T) {
	require.Error(t, run(t.Context(), new(bytes.Buffer), []string{"-x"}))
	require.Error(t, run(t.Context(), new(bytes.Buffer), []string{"-kills", "-1"}))
	require.Error(t, run(t.Context(), new(bytes.Buffer), []string{"once"}))

	t.Setenv(asProgram, "yes")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, run(ctx, new(bytes.Buffer), nil), context.Canceled)
}

// TestUntold: a source side that was killed had stored something, and told nobody. It makes up
// for that when it starts again.
func TestUntold(t *testing.T) {
	t.Setenv(asProgram, "yes")
	dir := t.TempDir()
	target, err := newRegistry(filepath.Join(dir, "target"))
	require.NoError(t, err)
	defer target.close(t.Context())
	server := httptest.NewServer(target)
	defer server.Close()
	var out bytes.Buffer
	ctx, failed := context.WithCancelCause(t.Context())
	d := &demonstration{printer: &printer{to: &out}, failed: failed}
	require.NoError(t, d.prepare(dir, server.Listener.Addr().String()))
	defer d.client.transport.CloseIdleConnections()

	source, err := newRegistry(filepath.Join(dir, sourceSide, "content"))
	require.NoError(t, err)
	untold, err := serve(d.source.addr, source)
	require.NoError(t, err)
	require.NoError(t, d.client.work(ctx, 0))
	require.NoError(t, untold.Shutdown(ctx))
	require.NoError(t, source.close(ctx))

	for _, s := range []*side{d.mirror, d.source} {
		require.NoError(t, s.start(ctx, failed))
	}
	require.NoError(t, d.settle(ctx))
	for _, s := range []*side{d.source, d.mirror} {
		require.NoError(t, s.stop(ctx))
	}
	d.client.pushed = nil // of what has no tag, nobody can know
	untold, err = serve(d.source.addr, source)
	require.NoError(t, err)
	defer untold.Close()
	require.NoError(t, d.compare(ctx), &out)
	assert.Contains(t, out.String(), "All is told and done: 6 events have come to the mirror side", "one for each repository")
	assert.Regexp(t, `(?m)^tags +10 +10$`, out.String())
}

// TestSideFails: a side that ends by itself ends the program, which says why.
func TestSideFails(t *testing.T) {
	t.Setenv(asProgram, "yes")
	ctx, failed := context.WithCancelCause(t.Context())
	s := &side{name: sourceSide, addr: "127.0.0.1:1", args: []string{"-webhook", "nowhere", "-dir", t.TempDir()}, out: new(bytes.Buffer), environment: os.Environ()}
	require.Error(t, s.start(ctx, failed))
	require.ErrorContains(t, context.Cause(ctx), `the source side has ended: exit status 1, and its last words:`)
	require.ErrorContains(t, context.Cause(ctx), "allowed is http:// or https://")
}

func TestBar(t *testing.T) {
	steps := []observer.Progress{
		{Events: 10, Total: 400, Repositories: 3, Rate: 100, Left: 3900e6},
		{Events: 20, Total: 400, Repositories: 5, Rate: 100, Left: 3800e6},
		{Events: 200, Total: 400, Repositories: 7, Rate: 100, Left: 2000e6},
		{Events: 400, Total: 400, Repositories: 9, Rate: 100, Done: true},
	}
	var plain, terminal bytes.Buffer
	on, off := bar{to: &terminal, terminal: true}, bar{to: &plain}
	for _, p := range steps {
		on.show(p)
		off.show(p)
	}
	const half, all = "  loading [##########..........]  50%  200 of 400 events, 7 repositories, 100/s, 2s left",
		"  loading [####################] 100%  400 of 400 events, 9 repositories"
	assert.Equal(t, half+"\n"+all+"\n", plain.String(), "a line for each tenth")
	assert.Equal(t, "\r  loading [....................]   2%  10 of 400 events, 3 repositories, 100/s, 4s left\x1b[K"+
		"\r  loading [#...................]   5%  20 of 400 events, 5 repositories, 100/s, 4s left\x1b[K"+
		"\r"+half+"\x1b[K\r"+all+"\x1b[K\n", terminal.String(), "one line")

	plain.Reset()
	off.show(observer.Progress{Done: true})
	assert.Equal(t, "  loading [####################] 100%  0 of 0 events, 0 repositories\n", plain.String())
}

// What the registries have is only the same if it is exactly so.
func TestDifferences(t *testing.T) {
	const one, two = "sha256:1111111111111111", "sha256:2222222222222222"
	app := map[string]string{"v1": one, one: one}
	for name, c := range map[string]struct {
		source, target catalogue
		want           []string
	}{
		"same":       {catalogue{"app": app}, catalogue{"app": app}, nil},
		"repository": {catalogue{}, catalogue{"app": {one: one}}, []string{"app  sha256:111111111111: nothing in the source, sha256:111111111111 in the mirror"}},
		"manifest":   {catalogue{"app": app}, catalogue{"app": {"v1": one}}, []string{"app  sha256:111111111111: sha256:111111111111 in the source, nothing in the mirror"}},
		"tag": {catalogue{"app": app}, catalogue{"app": {"v1": two, one: one}},
			[]string{"app  v1: sha256:111111111111 in the source, sha256:222222222222 in the mirror"}},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.want, differences(c.source, c.target)) })
	}
}
