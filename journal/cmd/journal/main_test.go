package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string) *journal.Journal {
	t.Helper()
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	j, err := journal.Open(dir, journal.Config{SegmentBytes: 1 << 20, Logger: logrus.NewEntry(logger)})
	require.NoError(t, err)
	return j
}

func event(n int) *notifications.Event {
	return &notifications.Event{
		ID: fmt.Sprintf("event-%d", n), Timestamp: time.Unix(1700000000, 0).UTC(), Action: "push",
		Target: notifications.Target{Type: "tag", Repository: "library/app", Tag: "v1"},
	}
}

// newJournal makes a journal of five events and two sinks, of which neither is there.
func newJournal(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	j := open(t, dir)
	require.NoError(t, j.Rewind("scanner", 0))
	for n := range 5 {
		require.NoError(t, j.Write(t.Context(), event(n+1)))
	}
	require.NoError(t, j.Rewind("audit", 5))
	require.NoError(t, j.Close(t.Context()))
	return dir
}

// change rewrites one of the files that match.
func change(t *testing.T, dir, pattern string, f func([]byte) []byte) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, f(b), 0o600))
	}
}

// flip returns how to change the byte behind some text.
func flip(t *testing.T, text string) func([]byte) []byte {
	return func(b []byte) []byte {
		i := bytes.Index(b, []byte(text))
		require.GreaterOrEqual(t, i, 0)
		b[i+len(text)] ^= 1
		return b
	}
}

// call runs the command. What is not the same each time it replaces.
func call(t *testing.T, dir string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	err = run(t.Context(), args, &out, &errs)
	stable := func(b *bytes.Buffer) string {
		s := b.String()
		if dir != "" {
			s = strings.ReplaceAll(s, dir, "DIR")
		}
		s = regexp.MustCompile(`"time":"[^"]*Z"`).ReplaceAllString(s, `"time":"T"`)
		return regexp.MustCompile(`-[0-9a-f]{8}\.seg`).ReplaceAllString(s, "-SALT.seg")
	}
	return stable(&out), stable(&errs), err
}

const (
	sinks = `  settled up to  behind  sink
              5       0  audit
              0       5  scanner
`
	noLetters = `
dead letters:
0 segments, 0 bytes, no records; the next position is 1
whole: 0 records
  settled up to  behind  sink
              0       0  live
`
)

func catLine(n int) string {
	return fmt.Sprintf(`{"position":%d,"time":"T","event":{"id":"event-%d","timestamp":"2023-11-14T22:13:20Z","action":"push",`+
		`"target":{"type":"tag","repository":"library/app","tag":"v1"},"request":{"id":"","method":"","useragent":""},"actor":{},"source":{}}}`+"\n", n, n)
}

func TestHealthy(t *testing.T) {
	dir := newJournal(t)
	out, errs, err := call(t, dir, "stat", dir)
	require.NoError(t, err)
	assert.Empty(t, errs)
	assert.Equal(t, "1 segment, 1267 bytes, positions 1 to 5\n"+sinks, out)

	out, errs, err = call(t, dir, "verify", dir)
	require.NoError(t, err)
	assert.Empty(t, errs)
	assert.Equal(t, "1 segment, 1267 bytes, positions 1 to 5\nwhole: 5 records\n"+sinks+noLetters, out)

	out, errs, err = call(t, dir, "cat", dir)
	require.NoError(t, err)
	assert.Empty(t, errs)
	assert.Equal(t, catLine(1)+catLine(2)+catLine(3)+catLine(4)+catLine(5), out)
	out, _, err = call(t, dir, "cat", "-after", "4", dir)
	require.NoError(t, err)
	assert.Equal(t, catLine(5), out)
}

// TestInUse: it needs no lock, and sees what was written.
func TestInUse(t *testing.T) {
	dir := newJournal(t)
	j := open(t, dir)
	defer j.Close(context.Background())
	require.NoError(t, j.Write(t.Context(), event(6)))
	out, _, err := call(t, dir, "stat", dir)
	require.NoError(t, err)
	assert.Contains(t, out, "positions 1 to 6\n")
	assert.NotContains(t, out, "torn")
	out, _, err = call(t, dir, "cat", "-after", "5", dir)
	require.NoError(t, err)
	assert.Equal(t, catLine(6), out)
}

// TestTorn: what a crash leaves behind the end is no damage.
func TestTorn(t *testing.T) {
	dir := newJournal(t)
	change(t, dir, "*.seg", func(b []byte) []byte { return append(b, b[32:132]...) })
	for _, command := range []string{"stat", "verify"} {
		out, _, err := call(t, dir, command, dir)
		require.NoError(t, err)
		assert.Contains(t, out, "1 segment, 1367 bytes, positions 1 to 5\n"+
			"torn tail: 100 bytes that were never acknowledged: they are being written, or the next start cuts them off\n", command)
	}
	out, errs, err := call(t, dir, "cat", "-after", "4", dir)
	require.NoError(t, err)
	assert.Empty(t, errs)
	assert.Equal(t, catLine(5), out)
}

func TestDamaged(t *testing.T) {
	t.Run("record", func(t *testing.T) {
		dir := newJournal(t)
		change(t, dir, "*.seg", flip(t, "event-"))
		out, _, err := call(t, dir, "verify", dir)
		require.ErrorIs(t, err, errDamaged)
		assert.Equal(t, 1, status(err))
		assert.Equal(t, "1 segment, 1267 bytes, positions 1 to 5\nwhole: 4 records\ndamaged: 1 record, at 1\n"+sinks+noLetters, out)
		out, errs, err := call(t, dir, "cat", dir)
		require.ErrorIs(t, err, errDamaged)
		assert.Equal(t, catLine(2)+catLine(3)+catLine(4)+catLine(5), out)
		assert.Equal(t, "damaged: 1 record, at 1\n", errs)
	})
	t.Run("several", func(t *testing.T) {
		dir := newJournal(t)
		for n := 3; n <= 5; n++ {
			change(t, dir, "*.seg", flip(t, fmt.Sprintf(`"event-%d`, n)))
		}
		out, _, err := call(t, dir, "verify", dir)
		require.ErrorIs(t, err, errDamaged)
		assert.Contains(t, out, "whole: 2 records\ndamaged: 3 records, at 3-5\n")
	})
	t.Run("header", func(t *testing.T) {
		dir := newJournal(t)
		change(t, dir, "*.seg", flip(t, "regno"))
		out, _, err := call(t, dir, "stat", dir)
		require.NoError(t, err)
		assert.Contains(t, out, "damaged header: DIR/00000000000000000001-SALT.seg; its records are read all the same\n")
		out, _, err = call(t, dir, "verify", dir)
		require.ErrorIs(t, err, errDamaged)
		assert.Contains(t, out, "whole: 5 records\n")
	})
	t.Run("cursors", func(t *testing.T) {
		dir := newJournal(t)
		change(t, dir, "places.*", func(b []byte) []byte { b[20] ^= 1; return b })
		for _, command := range []string{"stat", "verify"} {
			out, _, err := call(t, dir, command, dir)
			assert.Equal(t, command == "verify", err != nil, command)
			assert.Contains(t, out, "the cursors are damaged: at the next start every sink begins with the oldest record\n", command)
		}
	})
}

func TestDeadLetters(t *testing.T) {
	dir := newJournal(t)
	j := open(t, dir)
	require.NoError(t, j.DeadLetters().Put(t.Context(), notifications.DeadLetter{Event: event(3), Endpoint: "audit", Reason: notifications.ReasonRefused}))
	require.NoError(t, j.Close(t.Context()))
	out, _, err := call(t, dir, "stat", dir)
	require.NoError(t, err)
	assert.Contains(t, out, "there are dead letters: journal cat DIR/deadletters\n")
	out, _, err = call(t, dir, "cat", filepath.Join(dir, "deadletters"))
	require.NoError(t, err)
	assert.Contains(t, out, `"event-3"`)

	change(t, dir, "deadletters/*.seg", flip(t, "event-"))
	out, _, err = call(t, dir, "verify", dir)
	require.ErrorIs(t, err, errDamaged)
	assert.Contains(t, out, "whole: 5 records\n"+sinks+"\ndead letters:\n")
	assert.Contains(t, out, "whole: 0 records\ndamaged: 1 record, at 1\n")

	// When the last one is taken out, there are none.
	dir = newJournal(t)
	j = open(t, dir)
	require.NoError(t, j.DeadLetters().Put(t.Context(), notifications.DeadLetter{Event: event(3)}))
	require.NoError(t, j.DeadLetters().Take(t.Context(), func(*notifications.DeadLetter) bool { return true },
		func(*notifications.DeadLetter) error { return nil }))
	require.NoError(t, j.Close(t.Context()))
	out, _, err = call(t, dir, "stat", dir)
	require.NoError(t, err)
	assert.NotContains(t, out, "dead letters")
}

func TestNoJournal(t *testing.T) {
	empty := t.TempDir()
	missing := filepath.Join(empty, "missing")
	for _, command := range []string{"stat", "verify", "cat"} {
		_, _, err := call(t, empty, command, empty)
		require.EqualError(t, err, "journal: "+empty+": there is no journal", command)
		assert.Equal(t, 1, status(err))
		_, _, err = call(t, empty, command, missing)
		require.ErrorIs(t, err, os.ErrNotExist, command)
	}
	entries, err := os.ReadDir(empty)
	require.NoError(t, err)
	assert.Empty(t, entries, "who looks leaves nothing behind")
}

func TestUsage(t *testing.T) {
	for args, want := range map[string]string{
		"":                    `command "": allowed are stat, verify and cat`,
		"look DIR":            `command "look": allowed are stat, verify and cat`,
		"stat":                "0 directories: allowed is one, behind the flags",
		"stat DIR DIR":        "2 directories: allowed is one, behind the flags",
		"cat DIR -after 5":    "3 directories: allowed is one, behind the flags",
		"stat -after 5 DIR":   "flag provided but not defined: -after",
		"cat -after five DIR": `invalid value "five" for flag -after: parse error`,
	} {
		out, errs, err := call(t, "", strings.Fields(args)...)
		require.EqualError(t, err, want+"\n"+usage, args)
		assert.Equal(t, 2, status(err))
		assert.Empty(t, out+errs)
	}
	for _, args := range []string{"-h", "help", "cat -h", "--help"} {
		out, _, err := call(t, "", strings.Fields(args)...)
		require.NoError(t, err)
		assert.Equal(t, 0, status(err))
		assert.Equal(t, usage+"\n", out)
	}
}

func TestCancelled(t *testing.T) {
	dir := newJournal(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, command := range []string{"verify", "cat"} {
		require.ErrorIs(t, run(ctx, []string{command, dir}, io.Discard, io.Discard), context.Canceled)
	}
}
