package observer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/registry-notifications/notifications/internal/owner"
)

// FileStore is a Store in a file of one line for each Save. Nothing of it is kept in memory.
//
//	6f1d2c3a {"position/registry":12,"state/registry/team/app":{…}}
//
// with a checksum (CRC-32C) in front of the JSON, in which null is what was forgotten. Save
// appends one and syncs it. The first line, and all that is left when most of the file is
// old, is written into another file, which then takes its place. So a crash leaves a part of
// a line at the end, at most, and never of the first: OpenFile cuts that off, and calls
// everything else damage; a last line that was damaged later looks the same, and costs what
// that Save has saved. What is not UTF-8 in a key is replaced.
type FileStore struct {
	path string
	lock io.Closer

	file   *os.File
	size   int64 // of what was saved
	live   int64 // of that, what counted when it was written anew or opened
	failed bool  // has to be written anew
}

var _ Store = (*FileStore)(nil)

// OpenFile opens the store in a file, which it makes if there is none; the directory has to
// be there. The errors are the system's, one that says who has it open already, and one for
// a file that is damaged, or none of these.
func OpenFile(path string) (*FileStore, error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // or each link to it would have a lock, and be replaced, by itself
	}
	lock, err := owner.Take(path+".lock", false)
	if err != nil {
		return nil, fmt.Errorf("observer: %w", err)
	}
	s := &FileStore{path: path, lock: lock}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("observer: %w", err), lock.Close())
	}
	return s, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// open opens the file. Whatever is behind the last whole line was never acknowledged.
func (s *FileStore) open() error {
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	all, size, err := scanLines(s.path, f)
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		err = syncDir(s.path)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	for key, value := range all {
		s.live += int64(len(key) + len(value))
	}
	s.file, s.size = f, size
	return nil
}

// scanLines reads what is in a file, and how long that is without a torn end.
func scanLines(path string, from io.Reader) (all map[string]json.RawMessage, size int64, err error) {
	all = make(map[string]json.RawMessage)
	lines := bufio.NewReaderSize(from, 64<<10)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, err
		}
		if len(line) == 0 {
			return all, size, nil
		}
		changes, err := parseLine(line)
		if err != nil {
			// A power cut need not keep the order of what it cuts: the line may have its end.
			if rest, _ := lines.Peek(1); len(rest) == 0 && n > 1 {
				return all, size, nil
			}
			return nil, 0, fmt.Errorf("%s: line %d: %w: nothing from there on can be trusted: put a copy of the file in its place, or remove it: then all that the feeds have is acted on once more", path, n, err)
		}
		put(all, changes)
		size += int64(len(line))
	}
}

func parseLine(line []byte) (map[string]json.RawMessage, error) {
	if !bytes.HasSuffix(line, []byte("\n")) {
		return nil, errors.New("it is cut off")
	}
	sum, body, ok := bytes.Cut(line, []byte(" "))
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if !ok || err != nil || crc32.Checksum(body, castagnoli) != uint32(want) {
		return nil, errors.New("the checksum is wrong")
	}
	var changes map[string]json.RawMessage
	err = json.Unmarshal(body, &changes)
	return changes, err
}

// put changes what is there. A value is null, or none, where a key is to be forgotten.
func put(all, changes map[string]json.RawMessage) {
	for key, value := range changes {
		if value == nil || string(value) == "null" {
			delete(all, key)
			continue
		}
		all[key] = value
	}
}

// Load returns all that is stored.
func (s *FileStore) Load(context.Context) (map[string][]byte, error) {
	raw, err := s.read()
	if err != nil {
		return nil, fmt.Errorf("observer: store: %w", err)
	}
	all := make(map[string][]byte, len(raw))
	for key, value := range raw {
		all[key] = value
	}
	return all, nil
}

// read reads what was saved.
func (s *FileStore) read() (map[string]json.RawMessage, error) {
	if s.lock == nil {
		return nil, errClosed
	}
	all, size, err := scanLines(s.path, io.NewSectionReader(s.file, 0, s.size))
	if err == nil && size != s.size {
		err = fmt.Errorf("%s: the last line is damaged", s.path)
	}
	return all, err
}

var errClosed = errors.New("closed")

// Save appends what has changed, and syncs it. After an error the next one writes everything
// anew: what has failed to be synced once cannot be trusted again.
func (s *FileStore) Save(_ context.Context, changes map[string][]byte) error {
	raw := make(map[string]json.RawMessage, len(changes))
	for key, value := range changes {
		raw[key] = value
	}
	if err := s.save(raw); err != nil {
		s.failed = true
		return fmt.Errorf("observer: store: %w", err)
	}
	return nil
}

func (s *FileStore) save(changes map[string]json.RawMessage) error {
	if s.lock == nil {
		return errClosed
	}
	if s.failed || s.size == 0 || s.size > 2*s.live+slack {
		return s.rewrite(changes)
	}
	line, err := appendLine(changes)
	if err == nil {
		_, err = s.file.WriteAt(line, s.size)
	}
	if err == nil {
		err = s.file.Sync()
	}
	if err == nil {
		s.size += int64(len(line))
	}
	return err
}

// slack is how much of a file may be old before it is written anew, besides half of it.
const slack = 1 << 20

func appendLine(changes map[string]json.RawMessage) ([]byte, error) {
	body, err := json.Marshal(changes)
	if err != nil {
		return nil, err
	}
	body = append(body, '\n')
	return append(fmt.Appendf(nil, "%08x ", crc32.Checksum(body, castagnoli)), body...), nil
}

// rewrite puts a new file into the place of the old one.
func (s *FileStore) rewrite(changes map[string]json.RawMessage) error {
	all, err := s.read()
	if err != nil {
		return err
	}
	put(all, changes)
	line, err := appendLine(all)
	if err != nil {
		return err
	}
	next := s.path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // what a crash has left, with who knows which permissions
	}
	f, err := os.OpenFile(next, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(next, s.path)
	}
	if err == nil {
		err = syncDir(s.path)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	_ = s.file.Close() // all of it is in the new one
	s.file, s.size, s.live, s.failed = f, int64(len(line)), int64(len(line)), false
	return nil
}

func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// Close gives the file back. What was saved is on disk.
func (s *FileStore) Close() (err error) {
	if s.lock == nil {
		return nil
	}
	err = errors.Join(s.file.Close(), s.lock.Close())
	s.file, s.lock = nil, nil
	return err
}
