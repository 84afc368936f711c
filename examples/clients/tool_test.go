package clients

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tool is a client that is a program.
type tool struct {
	path string
	args []string // in front of all others
	env  []string
}

// newTool finds a program, which is to keep all of its own below a directory of the
// test's. The test is skipped where it is not installed.
func newTool(t *testing.T, name string, args ...string) *tool {
	path, err := exec.LookPath(name)
	if err != nil {
		require.Empty(t, os.Getenv("CI"), "%s has to be there", name)
		t.Skipf("%s is not installed: apt-get install %s", name, name)
	}
	home := t.TempDir()
	return &tool{path: path, args: args, env: append(os.Environ(), "HOME="+home, "XDG_RUNTIME_DIR="+home, "TMPDIR="+home)}
}

func (p *tool) run(ctx context.Context, args ...string) error {
	_, err := p.output(ctx, args...)
	return err
}

// output returns what the program has printed.
func (p *tool) output(ctx context.Context, args ...string) (string, error) {
	command := exec.CommandContext(ctx, p.path, append(p.args[:len(p.args):len(p.args)], args...)...)
	command.Env = p.env
	var said strings.Builder
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(command.Args, " "), err, said.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// does returns a step that runs the program with arguments.
func (p *tool) does(args ...string) func(context.Context) error {
	return func(ctx context.Context) error { return p.run(ctx, args...) }
}

// tempDir is t.TempDir with a shorter name of small letters: podman takes no others.
func tempDir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "clients-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}
