package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A test that needs another process runs its own binary again, with this in the
// environment. TestMain then does what it says, and no test.
const childEnv = "JOURNAL_TEST_CHILD"

// children are what such a process can do. What they print, the test reads.
var children = map[string]func(args json.RawMessage) error{
	"live":   live,
	"own":    own,
	"modes":  modes,
	"sealed": sealed,
}

type errand struct {
	Do   string
	Args any
}

// runChild does a child's work. ok is false in a process that is none.
func runChild() (code int, ok bool) {
	text, ok := os.LookupEnv(childEnv)
	if !ok {
		return 0, false
	}
	var args json.RawMessage
	e := errand{Args: &args}
	err := json.Unmarshal([]byte(text), &e)
	if err == nil {
		err = children[e.Do](args)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

// child is another process, as its test sees it.
type child struct {
	cmd    *exec.Cmd
	stdin  io.Closer     // its end tells a child that waits for it to go on
	lines  chan string   // of its standard output, closed at its end
	left   chan struct{} // nobody reads lines any more
	leave  func()
	stderr bytes.Buffer
}

func startChild(t *testing.T, do string, args any) *child {
	t.Helper()
	text, err := json.Marshal(errand{do, args})
	require.NoError(t, err)
	binary, err := os.Executable()
	require.NoError(t, err)
	c := &child{cmd: exec.Command(binary), lines: make(chan string, 64), left: make(chan struct{})}
	// With the race detector a process would sleep for a second at its end.
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(text), "GORACE=atexit_sleep_ms=0")
	c.cmd.Stderr = &c.stderr
	c.stdin, err = c.cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	c.leave = sync.OnceFunc(func() { close(c.left) })
	go func() {
		defer close(c.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			select {
			case c.lines <- s.Text():
			case <-c.left:
			}
		}
	}()
	t.Cleanup(c.end) // of a test that failed
	return c
}

func (c *child) end() {
	c.leave()
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Kill()
		for range c.lines {
		}
		_ = c.cmd.Wait()
	}
}

// hung is how long nothing may come from a child.
const hung = time.Minute

// line returns the next line that the child prints; ok is false at its end.
func (c *child) line(t *testing.T) (line string, ok bool) {
	t.Helper()
	select {
	case line, ok = <-c.lines:
		return line, ok
	case <-time.After(hung):
		c.end()
		require.FailNow(t, "the child hangs", c.stderr.String())
		return "", false
	}
}

// kill ends the child as kill -9 does, and returns what it had still printed.
func (c *child) kill(t *testing.T) (lines []string) {
	t.Helper()
	require.NoError(t, c.cmd.Process.Kill())
	for l := range c.lines {
		lines = append(lines, l)
	}
	_ = c.cmd.Wait()
	status := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, status.Signaled() && status.Signal() == syscall.SIGKILL, "the child ended by itself: %v: %s", c.cmd.ProcessState, &c.stderr)
	return lines
}

// wait waits until the child ends by itself, which has to be without an error.
func (c *child) wait(t *testing.T) (lines []string) {
	t.Helper()
	for {
		l, ok := c.line(t)
		if !ok {
			break
		}
		lines = append(lines, l)
	}
	assert.NoError(t, c.cmd.Wait(), &c.stderr)
	return lines
}
