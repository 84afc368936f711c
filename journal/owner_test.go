package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// own has a journal open until its standard input ends, or says why it has not.
func own(args json.RawMessage) error {
	var dir string
	if err := json.Unmarshal(args, &dir); err != nil {
		return err
	}
	j, err := Open(dir, quick())
	if err != nil {
		fmt.Println(err)
		return nil
	}
	if err := j.Add("sink", new(sinktest.Fake)); err != nil {
		return err
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return j.Close(context.Background())
}

// TestOwner: who comes second is told who was first; and whoever is killed has nothing
// any more.
func TestOwner(t *testing.T) {
	dir := t.TempDir()
	first := startChild(t, "own", dir)
	line, _ := first.line(t)
	require.Equal(t, "open", line, &first.stderr)

	_, err := Open(dir, quick())
	var locked *LockedError
	require.ErrorAs(t, err, &locked)
	assert.Equal(t, filepath.Join(dir, "lock"), locked.Path)
	assert.Regexp(t, fmt.Sprintf(`^process %d on \S+ since \d{4}-\S+Z$`, first.cmd.Process.Pid), locked.Holder)
	assert.Equal(t, "journal: "+locked.Path+" is held by "+locked.Holder, err.Error())
	second := startChild(t, "own", dir)
	assert.Equal(t, []string{err.Error()}, second.wait(t))
	_, err = Inspect(dir)
	require.NoError(t, err, "who only looks needs no lock")

	first.kill(t)
	j := openJournal(t, dir, quick())
	_, err = Open(dir, quick())
	require.ErrorAs(t, err, &locked)
	assert.Contains(t, locked.Holder, fmt.Sprintf("process %d on ", os.Getpid()))
	require.NoError(t, j.Close(t.Context()))

	third := startChild(t, "own", dir)
	line, _ = third.line(t)
	require.Equal(t, "open", line, &third.stderr)
	require.NoError(t, third.stdin.Close())
	third.wait(t)
	require.NoError(t, openJournal(t, dir, quick()).Close(t.Context()))
}

// TestInspectNew: what was opened is a journal, even if nothing was written yet.
func TestInspectNew(t *testing.T) {
	dir := t.TempDir()
	_, err := Inspect(dir)
	require.ErrorContains(t, err, "there is no journal")
	require.NoError(t, openJournal(t, dir, quick()).Close(t.Context()))
	r, err := Inspect(dir)
	require.NoError(t, err)
	assert.True(t, r.OK())
	assert.Equal(t, Report{First: 1, Last: 0, Cursors: map[string]uint64{}}, *r)
}

// TestOpenGivesTheLockBack if it fails behind it.
func TestOpenGivesTheLockBack(t *testing.T) {
	dir := t.TempDir()
	letters := filepath.Join(dir, "deadletters")
	require.NoError(t, os.WriteFile(letters, nil, 0o600))
	_, err := Open(dir, quick())
	require.ErrorIs(t, err, fs.ErrExist)
	require.ErrorContains(t, err, letters)
	require.NoError(t, os.Remove(letters))
	require.NoError(t, openJournal(t, dir, quick()).Close(t.Context()))
}

// TestNoDirectory: what cannot be a journal is left as it is.
func TestNoDirectory(t *testing.T) {
	dir := t.TempDir()
	missing, file := filepath.Join(dir, "no", "such"), filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("something"), 0o600))
	for path, want := range map[string]error{missing: fs.ErrNotExist, file: fs.ErrExist} {
		_, err := Open(path, quick())
		require.ErrorIs(t, err, want)
		require.ErrorContains(t, err, path)
		_, err = Inspect(path)
		require.Error(t, err)
	}
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "something", string(content))
	assert.NoDirExists(t, filepath.Dir(missing))

	// A link is as good as what it points to.
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "events"), 0o700))
	require.NoError(t, os.Symlink("events", link))
	require.NoError(t, openJournal(t, link, quick()).Close(t.Context()))
	assert.FileExists(t, filepath.Join(dir, "events", "lock"))
}

// modes makes all that a journal makes, with nothing to keep it from others.
func modes(args json.RawMessage) error {
	var dir string
	if err := json.Unmarshal(args, &dir); err != nil {
		return err
	}
	syscall.Umask(0)
	j, err := Open(dir, small())
	if err != nil {
		return err
	}
	if err := j.Add("held", new(sinktest.Fake)); err != nil {
		return err
	}
	events := sinktest.Events("mode", 1000)
	if err := j.Write(context.Background(), events...); err != nil {
		return err
	}
	if err := j.Write(context.Background(), events[0]); err != nil {
		return err
	}
	if err := j.DeadLetters().Put(context.Background(), notifications.DeadLetter{Event: events[0]}); err != nil {
		return err
	}
	return j.Close(context.Background())
}

// TestModes: what is in a journal is for its owner alone, whatever the umask.
func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "events")
	startChild(t, "modes", dir).wait(t)
	kinds := make(map[string]fs.FileMode)
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		name, _ := filepath.Rel(dir, path)
		if strings.HasSuffix(name, suffix) {
			name = filepath.Join(filepath.Dir(name), "segment")
		}
		kinds[name] |= info.Mode()
		return err
	}))
	assert.Equal(t, map[string]fs.FileMode{
		".": 0o700 | fs.ModeDir, "lock": 0o600, "places.0": 0o600, "places.1": 0o600, "segment": 0o600,
		"deadletters": 0o700 | fs.ModeDir, "deadletters/places.0": 0o600, "deadletters/places.1": 0o600, "deadletters/segment": 0o600,
	}, kinds)
}

// nobody is a user who may not write to everything, as root may.
const nobody = 65534

// sealed looks at what a journal does where it may not write. The directory is its own.
func sealed(args json.RawMessage) error {
	var dir string
	if err := json.Unmarshal(args, &dir); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
			return err
		}
	}
	ctx := context.Background()
	write := func(j *Journal) error { return j.Write(ctx, notifications.NewEvent("push")) }
	config := quick()
	config.Retain = time.Hour
	j, err := Open(dir, config)
	if err != nil {
		return err
	}
	if err := errors.Join(j.Add("sink", new(sinktest.Fake)), write(j), j.Close(ctx)); err != nil {
		return err
	}

	// Without leave to make files: it opens, as what is there can be delivered, and
	// writes again as soon as it may.
	if err := os.Chmod(dir, 0o500); err != nil {
		return err
	}
	defer os.Chmod(dir, 0o700)
	if j, err = Open(dir, config); err != nil {
		return err
	}
	err = write(j)
	fmt.Println("no new files:", errors.As(err, new(*WriteError)), errors.Is(err, fs.ErrPermission))
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	fmt.Println("again:", write(j))
	if err := j.Close(ctx); err != nil {
		return err
	}

	// Without leave to write at all it does not open, and can be looked at.
	files, err := contents(dir)
	if err != nil {
		return err
	}
	for path := range files {
		if err := os.Chmod(path, 0o400); err != nil {
			return err
		}
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		return err
	}
	_, err = Open(dir, quick())
	fmt.Println("read-only:", errors.Is(err, fs.ErrPermission))
	r, err := Verify(ctx, dir, nil)
	if err != nil {
		return err
	}
	fmt.Println("verify:", r.OK(), r.Records)
	after, err := contents(dir)
	fmt.Println("the same:", maps.Equal(files, after))
	if err != nil {
		return err
	}
	_, err = Open(filepath.Join(dir, "new"), quick())
	fmt.Println("below:", errors.Is(err, fs.ErrPermission))
	return nil
}

func contents(dir string) (map[string]string, error) {
	all := make(map[string]string)
	return all, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	})
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	if os.Getuid() == 0 {
		for path := dir; path != filepath.Clean(os.TempDir()) && path != "/"; path = filepath.Dir(path) {
			require.NoError(t, os.Chmod(path, 0o755))
		}
		require.NoError(t, os.Chown(dir, nobody, nobody))
	}
	lines := startChild(t, "sealed", dir).wait(t)
	assert.True(t, slices.Equal([]string{
		"no new files: true true", "again: <nil>", "read-only: true", "verify: true 2", "the same: true", "below: true",
	}, lines), "%q", lines)
}
