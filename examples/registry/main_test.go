package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/examples/internal/scenario"
)

// asProgram has the test binary be the program, for tests that need another process.
const asProgram = "REGISTRY_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m,
		// Of a stock application this one outlives Shutdown.
		goleak.IgnoreAnyFunction("github.com/docker/go-events.(*Broadcaster).run"),
	)
}

func TestRun(t *testing.T) {
	for hub, args := range map[string][]string{"memory": nil, "journal": {"-journal", t.TempDir()}} {
		t.Run(hub, func(t *testing.T) {
			var out bytes.Buffer
			require.NoError(t, run(t.Context(), &out, args), &out)
			require.Contains(t, out.String(), "All 24 events came to both, in the same order.")
			require.Regexp(t, `total +24 +24 +24\n`, out.String())
			require.Regexp(t, `recovering  running +24 +24 +0 +[1-9][0-9]* +0  .* x 503 Service Unavailable`, out.String())
			require.Equal(t, hub == "journal", strings.HasPrefix(out.String(), "Left by an earlier run: 0 for healthy, 0 for recovering.\n\nA registry"))
			require.NotContains(t, out.String(), "had left")
			for _, l := range strings.Split(out.String(), "\n") {
				require.LessOrEqual(t, len(l), 120)
				require.Equal(t, strings.TrimRight(l, " "), l)
			}
		})
	}
}

func TestRunErrors(t *testing.T) {
	require.Error(t, run(t.Context(), new(bytes.Buffer), []string{"-x"}))
	require.Error(t, run(t.Context(), new(bytes.Buffer), []string{"-serve", "-addr", "nowhere"}))
	require.ErrorIs(t, run(t.Context(), new(bytes.Buffer), []string{"-journal", "no/such"}), os.ErrNotExist)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, run(ctx, new(bytes.Buffer), nil), context.Canceled)
}

// served is the program with -serve, whose output the test reads.
type served struct {
	t     *testing.T
	host  string
	stop  context.CancelFunc
	read  io.Reader
	lines *bufio.Scanner
	seen  []string // that were read
	ended chan error
}

func serve(t *testing.T, args ...string) *served {
	ctx, stop := context.WithCancel(t.Context())
	read, write := io.Pipe()
	s := &served{t: t, stop: stop, read: read, lines: bufio.NewScanner(read), ended: make(chan error, 1)}
	go func() {
		err := run(ctx, write, append([]string{"-serve", "-addr", "127.0.0.1:0"}, args...))
		write.Close()
		s.ended <- err
	}()
	s.host = s.waitFor(`^A registry at (\S+)`)[1]
	s.waitFor("oras push")
	return s
}

// waitFor reads on until a line matches, and returns what did.
func (s *served) waitFor(pattern string) []string {
	s.t.Helper()
	for s.lines.Scan() {
		s.seen = append(s.seen, s.lines.Text())
		if m := regexp.MustCompile(pattern).FindStringSubmatch(s.lines.Text()); m != nil {
			return m
		}
	}
	s.t.Fatalf("no line like %q", pattern)
	return nil
}

func (s *served) end() {
	s.t.Helper()
	s.stop()
	s.waitFor("The registry ends.")
	go func() { _, _ = io.Copy(io.Discard, s.read) }()
	require.NoError(s.t, <-s.ended)
}

func (s *served) pushBlob() {
	s.t.Helper()
	resp, err := http.Post("http://"+s.host+"/v2/library/app/blobs/uploads/", "", nil)
	require.NoError(s.t, err)
	resp.Body.Close()
	put, err := http.NewRequest(http.MethodPut, resp.Header.Get("Location")+
		"&digest=sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", strings.NewReader("hello"))
	require.NoError(s.t, err)
	resp, err = http.DefaultClient.Do(put)
	require.NoError(s.t, err)
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
}

// With -serve a client of somebody else's makes events, until a signal comes.
func TestServe(t *testing.T) {
	s := serve(t)
	s.pushBlob()
	s.waitFor(`^  push    blob      library/app                  2cf24dba5fb0     5 bytes$`)
	s.end()
}

// skopeo is a client that knows nothing of us.
func TestServeSkopeo(t *testing.T) {
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		require.Empty(t, os.Getenv("CI"), "skopeo has to be there")
		t.Skip("skopeo is not installed")
	}
	image, err := random.Image(1000, 2)
	require.NoError(t, err)
	dir, err := layout.Write(t.TempDir(), empty.Index)
	require.NoError(t, err)
	require.NoError(t, dir.AppendImage(image))
	digest, err := image.Digest()
	require.NoError(t, err)

	s := serve(t)
	command := exec.CommandContext(t.Context(), skopeo, "--insecure-policy", "copy", "--dest-tls-verify=false",
		"oci:"+string(dir), "docker://"+s.host+"/library/skopeo:v1")
	out, err := command.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for range 3 { // two layers and the image's configuration
		s.waitFor(`^  push    blob      library/skopeo `)
	}
	s.waitFor(`^  push    manifest  library/skopeo:v1 +` + digest.Hex[:12])
	s.end()
}

// What came is only right if it is exactly what was expected.
func TestCheck(t *testing.T) {
	event := func(id, action string) *notifications.Event {
		return &notifications.Event{ID: id, Action: action}
	}
	push, pull := event("1", "push"), event("2", "pull")
	want := []scenario.Event{{Action: "push"}, {Action: "pull"}}
	for name, c := range map[string]struct {
		healthy, recovering []*notifications.Event
		want                string
	}{
		"right":    {[]*notifications.Event{push, pull}, []*notifications.Event{push, pull}, ""},
		"missing":  {[]*notifications.Event{push}, []*notifications.Event{push}, "healthy: 1 missing: {Action:pull"},
		"too many": {[]*notifications.Event{push, pull, event("3", "pull")}, []*notifications.Event{push, pull, event("3", "pull")}, "recovering: 1 too many: {Action:pull"},
		"another":  {[]*notifications.Event{push, pull}, []*notifications.Event{push, event("2", "mount")}, "recovering: 1 too many: {Action:mount"},
		"order":    {[]*notifications.Event{push, pull}, []*notifications.Event{pull, push}, "recovering got the events in another order than healthy"},
	} {
		t.Run(name, func(t *testing.T) {
			err := (&comparison{want: want, webhooks: []*webhook{
				{name: "healthy", events: c.healthy}, {name: "recovering", events: c.recovering},
			}}).check()
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}
