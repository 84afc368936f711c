package observer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications/internal/owner"
)

func openStore(t testing.TB, path string) *FileStore {
	t.Helper()
	s, err := OpenFile(path)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// stored is what a store has, by key.
func stored(t testing.TB, s *FileStore) map[string]string {
	t.Helper()
	all, err := s.Load(t.Context())
	require.NoError(t, err)
	got := make(map[string]string)
	for k, v := range all {
		got[k] = string(v)
	}
	return got
}

// reads opens a file, says what is in it, and closes it.
func reads(t testing.TB, path string) (map[string]string, error) {
	t.Helper()
	s, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer func() { require.NoError(t, s.Close()) }()
	return stored(t, s), nil
}

func save(t testing.TB, s *FileStore, changes map[string]string) {
	t.Helper()
	require.NoError(t, trySave(s, changes))
}

// trySave saves values; an empty one is forgotten.
func trySave(s *FileStore, changes map[string]string) error {
	raw := make(map[string][]byte)
	for k, v := range changes {
		raw[k] = nil
		if v != "" {
			raw[k] = []byte(v)
		}
	}
	return s.Save(context.Background(), raw)
}

func TestFileStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	s := openStore(t, path)
	assert.Empty(t, stored(t, s))
	save(t, s, nil)
	save(t, s, map[string]string{"a": `{"n":1}`, "b": `"two"`, "gone": ""})
	save(t, s, map[string]string{"a": "", "c": `[3]`})
	save(t, s, map[string]string{"c": `null`, "d": ` {"wide": [ 1 ] } `})
	want := map[string]string{"b": `"two"`, "d": `{"wide":[1]}`}
	odd := map[string]string{
		"": "1", "state/r/team/app.x_y-z": "2", "ünïcode 世界 \U0001f600": "3", `"quoted\n"`: "4", "line\nbreak\r\t\x00": "5",
		"<a>&b\u2028": "6", "null": `"null"`, "large": `"` + strings.Repeat("x", 3<<20) + `"`, "deep": strings.Repeat("[", 500) + strings.Repeat("]", 500),
		"number": "123456789012345678901234567890.10",
	}
	save(t, s, odd)
	for k, v := range odd {
		want[k] = v
	}
	assert.Equal(t, want["large"], stored(t, s)["large"])
	require.NoError(t, s.Close())
	got, err := reads(t, path)
	require.NoError(t, err)
	require.Equal(t, want, got)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode())
	assert.NoFileExists(t, path+".new")

	require.ErrorContains(t, trySave(s, map[string]string{"x": "1"}), "observer: store: closed")
	require.NoError(t, s.Close(), "again")
}

// TestFileStoreCopies: what is given and what is returned is the caller's.
func TestFileStoreCopies(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	s := openStore(t, path)
	mine := map[string][]byte{"a": []byte(`"mine"`)}
	require.NoError(t, s.Save(t.Context(), mine))
	copy(mine["a"], `"your`)
	all, err := s.Load(t.Context())
	require.NoError(t, err)
	copy(all["a"], `"your`)
	all["b"] = nil
	assert.Equal(t, map[string]string{"a": `"mine"`}, stored(t, s))
}

// TestFileStoreBadValue: what is no JSON is an error, of which nothing is kept.
func TestFileStoreBadValue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	s := openStore(t, path)
	save(t, s, map[string]string{"a": "1"})
	for _, bad := range [][]byte{{}, []byte("{"), []byte("1 2"), []byte("\xff")} {
		require.ErrorContains(t, s.Save(t.Context(), map[string][]byte{"a": []byte("2"), "b": bad}), "observer: store: ")
	}
	save(t, s, map[string]string{"c": "3"})
	require.NoError(t, s.Close())
	got, err := reads(t, path)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"a": "1", "c": "3"}, got)
}

// history saves a few times, and returns the file and what there was after each Save.
func history(t *testing.T, path string) (file []byte, after []map[string]string) {
	t.Helper()
	s := openStore(t, path)
	after = append(after, stored(t, s))
	for i := range 5 {
		position := strconv.Itoa(i)
		save(t, s, map[string]string{"position": position, "state/" + position: `{"tag with space":` + position + `}`, "state/" + strconv.Itoa(i-2): ""})
		after = append(after, stored(t, s))
	}
	require.NoError(t, s.Close())
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, 5, bytes.Count(file, []byte("\n")))
	return file, after
}

// goesOn proves that a store that was opened is as good as a new one.
func goesOn(t *testing.T, path string, was map[string]string) {
	t.Helper()
	s := openStore(t, path)
	save(t, s, map[string]string{"more": "1"})
	require.NoError(t, s.Close())
	got, err := reads(t, path)
	require.NoError(t, err)
	want := map[string]string{"more": "1"}
	for k, v := range was {
		want[k] = v
	}
	require.Equal(t, want, got)
}

// TestFileStoreCut cuts the file at every byte: it has what was saved before that, to the
// last whole line. The first line was there before the file had its name: without it, it is
// none.
func TestFileStoreCut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	s := openStore(t, path)
	empty, err := s.file.Stat()
	require.NoError(t, err)
	save(t, s, map[string]string{"a": "1"})
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.False(t, os.SameFile(empty, info), "another file has taken its place")
	require.NoError(t, s.Close())
	require.NoError(t, os.Remove(path))

	file, after := history(t, path)
	first := bytes.IndexByte(file, '\n') + 1
	for at := range len(file) + 1 {
		require.NoError(t, os.WriteFile(path, file[:at], 0o600))
		got, err := reads(t, path)
		if at > 0 && at < first {
			require.EqualError(t, err, "observer: "+path+": line 1: it is cut off: nothing from there on can be trusted: put a copy of the file in its place, or remove it: then all that the feeds have is acted on once more")
			left, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, file[:at], left, "it is left as it is")
			continue
		}
		require.NoError(t, err)
		want := after[bytes.Count(file[:at], []byte("\n"))]
		require.Equal(t, want, got, "cut at %d", at)
		goesOn(t, path, want)
	}
}

// TestFileStoreFlips changes each byte in turn, in several ways: either that is found, and
// the error says where, or what there is is what there was after a Save. Power cuts may
// leave zeros, too.
func TestFileStoreFlips(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	file, after := history(t, path)
	var found, older, same int
	for at := range file {
		for _, to := range []byte{file[at] ^ 1, file[at] ^ 0x20, file[at] ^ 0x80, 0, '\n'} {
			if to == file[at] {
				continue
			}
			damaged := slices.Clone(file)
			damaged[at] = to
			require.NoError(t, os.WriteFile(path, damaged, 0o600))
			got, err := reads(t, path)
			if err != nil {
				line := bytes.Count(file[:at], []byte("\n")) + 1
				require.ErrorContains(t, err, fmt.Sprintf("%s: line %d: ", path, line))
				require.ErrorContains(t, err, "remove it")
				found++
				continue
			}
			// Only the last line can be torn, or, with its end gone, the last two.
			switch {
			case assert.ObjectsAreEqual(after[5], got):
				same++ // the checksum is in other letters
			case assert.ObjectsAreEqual(after[4], got):
				older++
			default:
				require.Equal(t, after[3], got, "byte %d: %q", at, to)
				require.Equal(t, byte('\n'), file[at])
				older++
			}
		}
	}
	t.Logf("%d found, %d of the Save before, %d the same", found, older, same)
	assert.NotZero(t, found)
	assert.NotZero(t, older)
}

// TestFileStoreGrows: a file of which most is old is written anew; what was there is gone,
// with its permissions, and what is there stays.
func TestFileStoreGrows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	s := openStore(t, path)
	const each = 100 << 10
	most, times := int64(0), 0
	for i := range 100 {
		require.NoError(t, os.WriteFile(path+".new", []byte("left over"), 0o644)) // by a crash
		value := `"` + strings.Repeat(strconv.Itoa(i%10), each) + `"`
		before := s.size
		save(t, s, map[string]string{"kept": "1", "changes": value})
		if s.size < before {
			times++
			assert.NoFileExists(t, path+".new")
		}
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, s.size, info.Size())
		require.Equal(t, fs.FileMode(0o600), info.Mode())
		most = max(most, info.Size())
	}
	assert.InDelta(t, 8, times, 2)
	assert.LessOrEqual(t, most, int64(2*each+slack+2*each))
	want := stored(t, s)
	require.NoError(t, s.Close())
	got, err := reads(t, path)
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

// TestFileStoreCrashWhileRewriting: whatever there is of the new file, without its new name
// it is nothing.
func TestFileStoreCrashWhileRewriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	file, after := history(t, path)
	whole, err := appendLine(map[string]json.RawMessage{"position": json.RawMessage("99")})
	require.NoError(t, err)
	for at := range len(whole) + 1 {
		require.NoError(t, os.WriteFile(path, file, 0o600))
		require.NoError(t, os.WriteFile(path+".new", whole[:at], 0o600))
		s := openStore(t, path)
		require.Equal(t, after[5], stored(t, s))
		s.live = -1 << 40 // as if most of it were old
		save(t, s, map[string]string{"more": "1"})
		now := stored(t, s)
		require.NoError(t, s.Close())
		goesOn(t, path, now)
		require.NoFileExists(t, path+".new")
	}
}

// TestFileStoreFailures: a Save that has failed has saved nothing, and the next one writes all
// that was saved into a new file; a crash before leaves what was saved last.
func TestFileStoreFailures(t *testing.T) {
	for name, test := range map[string]struct {
		breaks func(t *testing.T, s *FileStore) (mend func())
		err    error
	}{
		"write": {func(t *testing.T, s *FileStore) func() {
			return swap(t, s, "/dev/full")
		}, syscall.ENOSPC},
		"sync": {func(t *testing.T, s *FileStore) func() {
			return swap(t, s, os.DevNull) // takes everything, and cannot be synced
		}, syscall.EINVAL},
		"rewrite: open": {func(t *testing.T, s *FileStore) func() {
			s.live = -1 << 40
			require.NoError(t, os.MkdirAll(s.path+".new/full", 0o700))
			return func() { require.NoError(t, os.RemoveAll(s.path+".new")) }
		}, syscall.ENOTEMPTY},
		"rewrite: rename": {func(t *testing.T, s *FileStore) func() {
			s.live = -1 << 40
			require.NoError(t, os.Rename(s.path, s.path+".aside"))
			require.NoError(t, os.Mkdir(s.path, 0o700))
			return func() {
				require.NoError(t, os.Remove(s.path))
				require.NoError(t, os.Rename(s.path+".aside", s.path))
			}
		}, fs.ErrExist},
	} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS != "linux" {
				t.Skip("what fails here is Linux's")
			}
			path := filepath.Join(t.TempDir(), "state")
			s := openStore(t, path)
			save(t, s, map[string]string{"a": "1", "position": "1"})
			mend := test.breaks(t, s)
			for range 2 {
				err := trySave(s, map[string]string{"b": "2", "position": "2"})
				require.ErrorContains(t, err, "observer: store: ")
				require.ErrorIs(t, err, test.err)
				if strings.HasPrefix(name, "rewrite") {
					continue // and again
				}
				break
			}
			mend()
			// Were it killed now:
			aside := filepath.Join(t.TempDir(), "state")
			file, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(aside, file, 0o600))
			got, err := reads(t, aside)
			require.NoError(t, err)
			assert.Equal(t, map[string]string{"a": "1", "position": "1"}, got)

			save(t, s, map[string]string{"c": "3"})
			require.NoError(t, s.Close())
			got, err = reads(t, path)
			require.NoError(t, err)
			assert.Equal(t, map[string]string{"a": "1", "c": "3", "position": "1"}, got)
		})
	}
}

// swap puts another file under a store.
func swap(t *testing.T, s *FileStore, path string) (mend func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	own := s.file
	s.file = f
	return func() {
		require.NoError(t, f.Close())
		s.file = own
	}
}

// TestFileStoreUnsyncedName: a new file whose name may not be on disk is not the end of it:
// the next Save has all that was saved, where whoever starts next looks for it.
func TestFileStoreUnsyncedName(t *testing.T) {
	if os.Getuid() == 0 {
		asNobody(t)
		return
	}
	path := filepath.Join(t.TempDir(), "state")
	if dir := os.Getenv(childDir); dir != "" {
		path = filepath.Join(dir, "state")
	}
	s := openStore(t, path)
	save(t, s, map[string]string{"a": "1"})
	s.live = -1 << 40
	require.NoError(t, os.Chmod(filepath.Dir(path), 0o300)) // which can be written, and not be read
	require.ErrorIs(t, trySave(s, map[string]string{"b": "2"}), fs.ErrPermission)
	require.NoError(t, os.Chmod(filepath.Dir(path), 0o700))
	save(t, s, map[string]string{"c": "3"})
	require.NoError(t, s.Close())
	got, err := reads(t, path)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"a": "1", "c": "3"}, got)
}

func TestFileStoreReadOnly(t *testing.T) {
	if os.Getuid() == 0 {
		asNobody(t)
		return
	}
	dir := t.TempDir()
	if child := os.Getenv(childDir); child != "" {
		dir = child
	}
	path := filepath.Join(dir, "state")
	s := openStore(t, path)
	save(t, s, map[string]string{"a": "1"})
	require.NoError(t, os.Chmod(dir, 0o500))
	defer func() { require.NoError(t, os.Chmod(dir, 0o700)) }()
	save(t, s, map[string]string{"b": "2"})
	require.NoError(t, s.Close())

	_, err := OpenFile(filepath.Join(dir, "other"))
	require.ErrorIs(t, err, fs.ErrPermission)
	require.ErrorContains(t, err, filepath.Join(dir, "other"))
	require.NoError(t, os.Chmod(path, 0o400))
	_, err = OpenFile(path)
	require.ErrorIs(t, err, fs.ErrPermission)
	require.ErrorContains(t, err, path)
}

// childDir is in the environment of a test that runs once more in another process: its
// directory.
const childDir = "OBSERVER_FILE_TEST_DIR"

// onceMore returns a command that runs this test once more.
func onceMore(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	binary, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), binary, "-test.run=^"+t.Name()+"$", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), childDir+"="+dir, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// asNobody runs a test once more as somebody to whom permissions apply. Root may do all.
func asNobody(t *testing.T) {
	t.Helper()
	if dir := os.Getenv(childDir); dir != "" {
		require.NoError(t, syscall.Setuid(65534))
		switch t.Name() {
		case "TestFileStoreReadOnly":
			TestFileStoreReadOnly(t)
		case "TestFileStoreUnsyncedName":
			TestFileStoreUnsyncedName(t)
		}
		return
	}
	dir, err := os.MkdirTemp("", "observer") // the test's own is below one that is root's
	require.NoError(t, err)
	defer func() { require.NoError(t, os.RemoveAll(dir)) }()
	require.NoError(t, os.Chown(dir, 65534, 65534))
	out, err := onceMore(t, dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "PASS")
}

func TestFileStoreNoFile(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "no", "such", "state")
	_, err := OpenFile(missing)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, missing)

	folder := filepath.Join(dir, "folder")
	require.NoError(t, os.Mkdir(folder, 0o700))
	for range 2 { // an error gives the lock back
		_, err = OpenFile(folder)
		require.ErrorContains(t, err, "is a directory")
		require.ErrorContains(t, err, folder)
	}
	file := filepath.Join(dir, "text")
	require.NoError(t, os.WriteFile(file, []byte("something else\n"), 0o600))
	for range 2 {
		_, err = OpenFile(file)
		require.ErrorContains(t, err, file+": line 1: the checksum is wrong: ")
	}
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "something else\n", string(content))
}

// TestFileStoreOwner: who comes second is told who was first, by whatever name he asks.
func TestFileStoreOwner(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "state"), filepath.Join(dir, "link")
	s := openStore(t, path)
	require.NoError(t, os.Symlink("state", link))
	for _, name := range []string{path, link} {
		_, err := OpenFile(name)
		var held *owner.HeldError
		require.ErrorAs(t, err, &held)
		assert.Equal(t, path+".lock", held.Path)
		assert.Contains(t, err.Error(), fmt.Sprintf("observer: %s.lock is held by process %d on ", path, os.Getpid()))
	}
	require.NoError(t, s.Close())
	s = openStore(t, link)
	save(t, s, map[string]string{"a": "1"})
	require.NoError(t, s.Close())
	info, err := os.Lstat(link)
	require.NoError(t, err)
	assert.NotZero(t, info.Mode()&fs.ModeSymlink, "it is still a link")
	got, err := reads(t, path)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"a": "1"}, got)
}

// TestFileStoreKill kills a process that saves all the time, again and again: what was said
// to be saved is there, and of each Save all or nothing.
func TestFileStoreKill(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		savesForEver(t, filepath.Join(dir, "state"))
		return
	}
	dir := t.TempDir()
	last := -1
	for lives := range 10 {
		cmd := onceMore(t, dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 5+7*lives {
				require.NoError(t, cmd.Process.Kill()) // and what it has still said counts
			}
			text, ok := strings.CutPrefix(lines.Text(), "saved ")
			if !ok {
				continue
			}
			last, err = strconv.Atoi(text)
			require.NoError(t, err)
		}
		require.Error(t, cmd.Wait())
		require.True(t, cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled())
		got, err := reads(t, filepath.Join(dir, "state"))
		require.NoError(t, err)
		n, err := strconv.Atoi(got["position"])
		require.NoError(t, err)
		assert.Contains(t, []int{last, last + 1}, n)
		want := []string{"position"}
		for i := n / 10 * 10; i <= n; i++ {
			want = append(want, key10(i))
			require.True(t, got[key10(i)] == large(i), "at %d: the value of %d", n, i)
		}
		require.Equal(t, want, slices.Sorted(maps.Keys(got)))
	}
	t.Logf("%d saves", last)
}

func key10(i int) string { return fmt.Sprint("state/", i%10) }

// large is so much that the file is written anew again and again.
func large(i int) string { return fmt.Sprintf(`"%0*d"`, 50<<10, i) }

// savesForEver counts, and has one more key with each Save, until it has ten and forgets them.
func savesForEver(t *testing.T, path string) {
	s := openStore(t, path)
	n := 0
	if position := stored(t, s)["position"]; position != "" {
		var err error
		n, err = strconv.Atoi(position)
		require.NoError(t, err)
		n++
	}
	for ; ; n++ {
		changes := map[string]string{"position": strconv.Itoa(n)}
		if n%10 == 0 {
			for i := range 10 {
				changes[key10(i)] = ""
			}
		}
		changes[key10(n)] = large(n)
		save(t, s, changes)
		if _, err := fmt.Println("saved", n); err != nil {
			return
		}
	}
}

// FuzzParseLine: a line is what its checksum says, or an error; what is taken comes out the
// same when it is written again.
func FuzzParseLine(f *testing.F) {
	for _, body := range []string{"", "{}", `{"a":1}`, `{"a":null,"b":{"c":"d e"}}`, `null`, `[1]`, `{"a":1}{"b":2}`, `{"a":1,"a":2}`, "{\"\xff\":1}", "\n"} {
		line := append(fmt.Appendf(nil, "%08x ", crc32.Checksum([]byte(body+"\n"), castagnoli)), body+"\n"...)
		f.Add(line)
		f.Add([]byte(body))
		f.Add(bytes.TrimSuffix(line, []byte("\n")))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		given, err := parseLine(input)
		if err == nil {
			again, err := appendLine(given)
			require.NoError(t, err)
			_, err = parseLine(again)
			require.NoError(t, err)
		}
		// With the right checksum, and its end, whatever the fuzzer has made:
		body := append(bytes.TrimSuffix(input, []byte("\n")), '\n')
		line := append(fmt.Appendf(nil, "%08x ", crc32.Checksum(body, castagnoli)), body...)
		changes, err := parseLine(line)
		if err != nil {
			var any map[string]json.RawMessage
			require.Error(t, json.Unmarshal(body, &any), "the checksum is right")
			return
		}
		first, err := appendLine(changes)
		require.NoError(t, err)
		changes, err = parseLine(first)
		require.NoError(t, err)
		second, err := appendLine(changes)
		require.NoError(t, err)
		require.Equal(t, first, second)
		require.Equal(t, 1, bytes.Count(first, []byte("\n")))
		for i := range first[:8] {
			bad := slices.Clone(first)
			bad[i] = 'x'
			_, err := parseLine(bad)
			require.Error(t, err)
		}
	})
}

var errNotThere = errors.New("not there")

// TestStoreIsNotLoaded: without what was saved, nothing is done.
func TestStoreIsNotLoaded(t *testing.T) {
	r := newRig(t)
	r.store.err = errNotThere
	r.write(push("a", "v1"))
	r.start()
	err := <-r.ended
	r.end()
	r.end = nil
	require.ErrorIs(t, err, errNotThere)
	assert.Empty(t, r.take())
}
