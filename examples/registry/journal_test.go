package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/examples/internal/scenario"
	"github.com/registry-notifications/notifications/journal"
)

// program is this one, in a process of its own.
type program struct {
	cmd    *exec.Cmd
	stdout *bufio.Scanner
	stderr bytes.Buffer
	lines  []string
}

func start(t *testing.T, args ...string) *program {
	t.Helper()
	binary, err := os.Executable()
	require.NoError(t, err)
	p := &program{cmd: exec.CommandContext(t.Context(), binary, args...)}
	p.cmd.Env = append(os.Environ(), asProgram+"=1")
	p.cmd.Stderr = &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.stdout = bufio.NewScanner(stdout)
	require.NoError(t, p.cmd.Start())
	return p
}

// readUntil reads on until a line, or to the end.
func (p *program) readUntil(line string) (found bool) {
	for p.stdout.Scan() {
		p.lines = append(p.lines, p.stdout.Text())
		if p.stdout.Text() == line {
			return true
		}
	}
	return false
}

// arrived returns the IDs of the events that have come to a webhook, in order.
func (p *program) arrived(webhook string) (ids []string) {
	id := regexp.MustCompile(`^  ([0-9a-f-]{36})  ` + webhook + ` `)
	for _, l := range p.lines {
		if m := id.FindStringSubmatch(l); m != nil {
			ids = append(ids, m[1])
		}
	}
	return ids
}

// With a journal, what was not delivered when the program was killed is delivered when
// it is started again.
func TestKilled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "events")
	first := start(t, "-journal", dir, "-refuse", "1h", "-v")
	require.True(t, first.readUntil("delete a tag"), &first.stderr)
	require.NoError(t, first.cmd.Process.Kill())
	first.readUntil("no such line")
	require.EqualError(t, first.cmd.Wait(), "signal: killed")

	var written []string
	report, err := journal.Cat(t.Context(), dir, func(r notifications.Record) error {
		written = append(written, r.Event.ID)
		return nil
	})
	require.NoError(t, err)
	require.True(t, report.OK())
	require.GreaterOrEqual(t, len(written), 20, "so many the steps before had")
	require.GreaterOrEqual(t, uint64(len(first.arrived("healthy"))), report.Cursors["healthy"], "a cursor follows what has come")
	require.Empty(t, first.arrived("recovering"))

	second := start(t, "-journal", dir, "-refuse", "100ms", "-v")
	require.False(t, second.readUntil("no such line"))
	require.NoError(t, second.cmd.Wait(), &second.stderr)
	for _, webhook := range []string{"healthy", "recovering"} {
		require.Subset(t, append(first.arrived(webhook), second.arrived(webhook)...), written, webhook)
	}
	require.Equal(t, written, second.arrived("recovering")[:len(written)], "what was left comes first, in its order")

	left := int(report.Last - report.Cursors["healthy"])
	out := strings.Join(second.lines, "\n")
	require.Contains(t, out, fmt.Sprintf("Left by an earlier run: %d for healthy, %d for recovering.\n", left, len(written)))
	require.Regexp(t, `total +24 +24 +24\n`, out)
	require.Contains(t, out, "All 24 events came to both, in the same order.\n"+
		fmt.Sprintf("So did what an earlier run had left: %d to healthy, %d to recovering.", left, len(written)))
}

// A journal keeps what a served registry's webhooks have not had when a signal ends it.
func TestServeJournal(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, "-journal", dir, "-refuse", "1h", "-v")
	s.pushBlob()
	s.waitFor(`  healthy +push    blob      library/app`)

	err := run(t.Context(), new(bytes.Buffer), []string{"-journal", dir})
	var locked *journal.LockedError
	require.ErrorAs(t, err, &locked, "two programs cannot have one journal")
	s.end()
	report, err := journal.Inspect(dir)
	require.NoError(t, err)
	require.Equal(t, map[string]uint64{"healthy": 1, "recovering": 0}, report.Cursors)

	s = serve(t, "-journal", dir, "-refuse", "0", "-v")
	// It need not wait for the registry to be there.
	const late = `  recovering +push    blob      library/app`
	if !slices.ContainsFunc(s.seen, regexp.MustCompile(late).MatchString) {
		s.waitFor(late)
	}
	s.end()
}

// What an earlier run has left is not compared with what is expected of this one, but
// has to come.
func TestCheckLeft(t *testing.T) {
	event := func(id, instance string) *notifications.Event {
		return &notifications.Event{ID: id, Action: "push", Source: notifications.SourceRecord{InstanceID: instance}}
	}
	earlier, now := event("1", "earlier"), event("2", "now")
	c := &comparison{instance: "now", want: []scenario.Event{{Action: "push"}}, webhooks: []*webhook{
		{name: "healthy", events: []*notifications.Event{now}},
		{name: "recovering", events: []*notifications.Event{earlier, now}, left: 1},
	}}
	require.NoError(t, c.check())
	c.webhooks[1].left = 2
	require.EqualError(t, c.check(), "recovering: an earlier run had left 2 events: 1 came")
}
