//go:build unix && !solaris && !aix

package owner

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// A test that needs another process runs its own binary again, with the path of a lock in the
// environment. TestMain then takes that and waits for the end of its input.
const childPath = "OWNER_TEST_PATH"

func TestMain(m *testing.M) {
	path, ok := os.LookupEnv(childPath)
	if !ok {
		goleak.VerifyTestMain(m)
		return
	}
	if _, err := Take(path, false); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("taken")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func take(t *testing.T, path string, dir bool) io.Closer {
	t.Helper()
	lock, err := Take(path, dir)
	require.NoError(t, err)
	t.Cleanup(func() { _ = lock.Close() })
	return lock
}

func refused(t *testing.T, path string, dir bool) *HeldError {
	t.Helper()
	_, err := Take(path, dir)
	var held *HeldError
	require.ErrorAs(t, err, &held)
	return held
}

func TestTake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	lock := take(t, path, false)
	held := refused(t, path, false)
	assert.Equal(t, path, held.Path)
	assert.Regexp(t, fmt.Sprintf(`^process %d on \S+ since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`, os.Getpid()), held.Holder)
	assert.Equal(t, path+" is held by "+held.Holder, held.Error())
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode())

	require.NoError(t, os.Truncate(path, 0)) // as on a full disk
	assert.Equal(t, path+" is held by another process", refused(t, path, false).Error())
	require.NoError(t, lock.Close())
	require.Error(t, lock.Close())
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("a longer holder ", 100)), 0o600))
	take(t, path, false)
	assert.Regexp(t, `^process \d+ on \S+ since \S+Z$`, refused(t, path, false).Holder, "nothing is left of who was there before")
}

// TestTakeDirectory: a lock file can be removed, and its directory stays locked.
func TestTakeDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	lock := take(t, path, true)
	require.NoError(t, os.Remove(path))
	assert.Empty(t, refused(t, path, true).Holder)
	require.NoError(t, os.Remove(path))
	other := take(t, path, false) // who does not ask for the directory
	require.NoError(t, other.Close())
	require.NoError(t, lock.Close())
	take(t, path, true)
}

// TestTakeFails: what could not be taken is not held.
func TestTakeFails(t *testing.T) {
	dir := t.TempDir()
	_, err := Take(filepath.Join(dir, "none", "lock"), true)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, filepath.Join(dir, "none", "lock"))
	_, err = Take(dir, false)
	require.ErrorContains(t, err, "is a directory")

	path := filepath.Join(dir, "lock")
	first := take(t, filepath.Join(dir, "first"), true)
	refused(t, path, true) // it has the file, but not the directory
	take(t, path, false)
	require.NoError(t, first.Close())
}

// TestTakeFromTheDead: the lock ends with its process, however that ends.
func TestTakeFromTheDead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	binary, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), binary)
	cmd.Env = append(os.Environ(), childPath+"="+path)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "taken\n", line)
	assert.Contains(t, refused(t, path, false).Holder, fmt.Sprintf("process %d on ", cmd.Process.Pid))
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	take(t, path, false)
}
