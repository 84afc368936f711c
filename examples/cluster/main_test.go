package main

import (
	"bytes"
	"context"
	"flag"
	"hash/fnv"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

var long = flag.Bool("long", false, "also what takes a minute")

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Of a stock application this one outlives Shutdown.
		goleak.IgnoreAnyFunction("github.com/docker/go-events.(*Broadcaster).run"),
	)
}

// TestRun runs the program as it is without arguments.
func TestRun(t *testing.T) {
	if !*long {
		t.Skip("elections and leases take some seconds: -long")
	}
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, nil), &out)
	t.Log("\n" + out.String())

	for _, happened := range []string{
		`3 servers are a cluster`,
		`kill: server n\d, which leads the stream`,
		`server n\d leads the stream`,
		`it has what it had missed`,
		`cut: registry-1 does not reach the servers any more`,
		`registry-1 has [1-9]\d* events in its spill, and its clients go on`,
		`registry-1 reaches them again, and its spill is empty`,
		`kill: worker-1, which has delivered [1-9]\d* events and acknowledged none of them`,
		`what it had not acknowledged has come again, with the same IDs`,
		`kill: registry-3, which had answered its clients; they go to the others`,
		`the clients have done [1-9]\d* pushes and [1-9]\d* pulls, and every one succeeded`,
	} {
		assert.Regexp(t, `(?m)^ *\d+\.\ds  `+happened+`$`, out.String())
	}
	all := regexp.MustCompile(`(?m)^all +(\d+) +(\d+) +(\d+) +0 +[1-9]\d* +0$`).FindStringSubmatch(out.String())
	require.NotNil(t, all, &out)
	assert.Equal(t, all[1], all[2], "what was accepted is in the stream")
	assert.Equal(t, all[1], all[3], "and delivered")
	assert.Equal(t, 1, strings.Count(out.String(), "  killed\n"))
	assert.True(t, strings.HasSuffix(out.String(), "\nNothing is lost, each repository is in order, and nothing came twice but what was in flight at a kill.\n"))
	for _, l := range strings.Split(out.String(), "\n") {
		assert.LessOrEqual(t, len(l), 120)
		assert.Equal(t, strings.TrimRight(l, " "), l)
	}
	nothingLeft(t)
}

// nothingLeft checks that all directories are removed.
func nothingLeft(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// cancels is a writer that cancels when it is told of something.
type cancels struct {
	bytes.Buffer
	when   string
	cancel func()
}

func (c *cancels) Write(b []byte) (int, error) {
	if strings.Contains(string(b), c.when) {
		c.cancel()
	}
	return c.Buffer.Write(b)
}

// TestInterrupted: whoever ends it in the middle hears just that, and finds nothing left.
func TestInterrupted(t *testing.T) {
	for i, when := range []string{"kill: server", "cut: registry"} {
		t.Run(when, func(t *testing.T) {
			if !*long && i > 0 {
				t.Skip("elections take some seconds: -long")
			}
			t.Setenv("TMPDIR", t.TempDir())
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			out := &cancels{when: when, cancel: cancel}
			require.EqualError(t, run(ctx, out, nil), context.Canceled.Error(), &out.Buffer)
			assert.Contains(t, out.String(), when)
			assert.NotContains(t, out.String(), "Nothing is lost")
			nothingLeft(t)
		})
	}
}

// TestRepositories: with a partition that has none of them, a worker might wait for ever.
func TestRepositories(t *testing.T) {
	all := make(map[uint32]bool)
	for _, r := range repositories {
		h := fnv.New32a()
		_, _ = h.Write([]byte(r))
		all[h.Sum32()%partitions] = true
	}
	assert.Len(t, all, partitions)
}

func TestRunErrors(t *testing.T) {
	require.Error(t, run(t.Context(), new(bytes.Buffer), []string{"-x"}))
	require.EqualError(t, run(t.Context(), new(bytes.Buffer), []string{"once"}), `argument "once": allowed is none`)
}
