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
	"slices"
	"strconv"

	"github.com/registry-notifications/notifications/internal/owner"
)

// FileStore is a Store in a file of one line for each Save. In memory it has all values once
// more, as they are in the file:
//
//	6f1d2c3a {"position/registry":12,"state/registry/team/app":{…}}
//
// with a checksum (CRC-32C) in front of the JSON, in which null is what was forgotten. Save
// appends one and syncs it. The first line, and all that is left when most of the file is
// old, is written into another file, which then takes its place. So a crash leaves a part of
// a line at the end, at most, and never of the first: OpenFile cuts that off, and calls
// everything else damage. What is not UTF-8 in a key is replaced.
type FileStore struct {
	path string
	lock io.Closer
	all  map[string]json.RawMessage
	live int64 // bytes of what is in all

	file *os.File // nil: has to be written anew
	size int64
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
	s := &FileStore{path: path, lock: lock, all: make(map[string]json.RawMessage)}
	if err := s.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("observer: %w", err), lock.Close())
	}
	return s, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// read reads the file. Whatever is behind the last whole line was never acknowledged.
func (s *FileStore) read() error {
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if s.file == nil {
			_ = f.Close()
		}
	}()
	lines := bufio.NewReaderSize(f, 64<<10)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(line) == 0 {
			break
		}
		changes, err := parseLine(line)
		if err != nil {
			// A power cut need not keep the order of what it cuts: the line may have its end.
			if rest, _ := lines.Peek(1); len(rest) == 0 && n > 1 {
				break
			}
			return fmt.Errorf("%s: line %d: %w: nothing from there on can be trusted: put a copy of the file in its place, or remove it: then all that the feeds have is acted on once more", s.path, n, err)
		}
		s.put(changes)
		s.size += int64(len(line))
	}
	if err := f.Truncate(s.size); err != nil {
		return err
	}
	if err := syncDir(s.path); err != nil {
		return err
	}
	s.file = f
	return nil
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

func (s *FileStore) put(changes map[string]json.RawMessage) {
	for key, value := range changes {
		if old, ok := s.all[key]; ok {
			s.live -= int64(len(key) + len(old))
		}
		if value == nil || string(value) == "null" {
			delete(s.all, key)
			continue
		}
		s.all[key] = value
		s.live += int64(len(key) + len(value))
	}
}

// Load returns all that is stored.
func (s *FileStore) Load(context.Context) (map[string][]byte, error) {
	all := make(map[string][]byte, len(s.all))
	for key, value := range s.all {
		all[key] = slices.Clone(value)
	}
	return all, nil
}

// Save appends what has changed, and syncs it. After an error the next one writes everything
// anew: what has failed to be synced once cannot be trusted again.
func (s *FileStore) Save(_ context.Context, changes map[string][]byte) error {
	if s.lock == nil {
		return errors.New("observer: store: closed")
	}
	raw := make(map[string]json.RawMessage, len(changes))
	for key, value := range changes {
		raw[key] = slices.Clone(value)
	}
	line, err := appendLine(raw)
	if err != nil {
		return fmt.Errorf("observer: store: %w", err)
	}
	s.put(raw)
	if s.file == nil || s.size == 0 || s.size > 2*s.live+slack {
		err = s.rewrite()
	} else {
		err = s.append(line)
	}
	if err != nil {
		if s.file != nil {
			_ = s.file.Close()
			s.file = nil
		}
		return fmt.Errorf("observer: store: %w", err)
	}
	return nil
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

func (s *FileStore) append(line []byte) error {
	_, err := s.file.WriteAt(line, s.size)
	if err == nil {
		err = s.file.Sync()
	}
	s.size += int64(len(line))
	return err
}

// rewrite puts a new file into the place of the old one.
func (s *FileStore) rewrite() error {
	line, err := appendLine(s.all)
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
	if s.file != nil {
		_ = s.file.Close() // all of it is in the new one
	}
	s.file, s.size = f, int64(len(line))
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
	if s.file != nil {
		err = s.file.Close()
	}
	err = errors.Join(err, s.lock.Close())
	s.file, s.lock = nil, nil
	return err
}
