package notifications

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"
)

// DeadLetterFileConfig is the configuration of a DeadLetterFile. The zero value has
// the defaults.
type DeadLetterFileConfig struct {
	// MaxBytes is how large the file gets before a new one is begun. Zero means 64 MiB.
	MaxBytes int64
	// MaxFiles is how many full files are kept beside it; the oldest goes. Zero means 9.
	MaxFiles int
	// Logger gets a line for each letter, and for what is lost with a file. Nil means
	// logrus's standard logger.
	Logger *logrus.Entry
}

// DeadLetterFile keeps dead letters in a file, as JSON lines, and in older files
// beside it with a number behind their name. Put returns when the letter is on disk.
// What a crash left half-written at the end is cut off at the next start; a line that
// is damaged is passed over, and logged. One process may have the file open.
type DeadLetterFile struct {
	path   string
	config DeadLetterFileConfig
	taking turn // held by Take, so that no letter is given twice

	mu   sync.Mutex // guards the rest
	file *os.File   // nil: closed, or to be opened again
	size int64
	last uint64 // number of the newest line
	shut bool
}

var _ DeadLetterStore = (*DeadLetterFile)(nil)

// letterLine is one line: a letter, or that one was taken out. No number is given
// twice, not even after an error: nobody knows what got into the file.
type letterLine struct {
	Number uint64      `json:"n"`
	Letter *DeadLetter `json:"letter,omitempty"`
	Taken  uint64      `json:"taken,omitempty"`
}

// OpenDeadLetterFile opens the file at path, and makes it if there is none. Its
// directory has to be there.
func OpenDeadLetterFile(path string, config DeadLetterFileConfig) (*DeadLetterFile, error) {
	fail := func(err error) (*DeadLetterFile, error) {
		return nil, fmt.Errorf("notifications: dead letters: %w", err)
	}
	switch {
	case path == "":
		return fail(wrong("path", "empty: allowed is the path of a file"))
	case config.MaxBytes < 0:
		return fail(wrong("maxbytes", "%d: allowed are zero, for the default, and above", config.MaxBytes))
	case config.MaxFiles < 0:
		return fail(wrong("maxfiles", "%d: allowed are zero, for the default, and above", config.MaxFiles))
	}
	if config.MaxBytes == 0 {
		config.MaxBytes = 64 << 20
	}
	if config.MaxFiles == 0 {
		config.MaxFiles = 9
	}
	config.Logger = orStandardLogger(config.Logger).WithField("file", path)

	d := &DeadLetterFile{path: path, config: config, taking: newTurn()}
	if err := d.open(); err != nil {
		return fail(err)
	}
	err := d.each(context.Background(), func(l *letterLine) error {
		d.last = max(d.last, l.Number, l.Taken)
		return nil
	})
	if old, oldErr := d.rotated(); oldErr == nil && len(old) > 0 {
		d.last = max(d.last, rotatedNumber(old[len(old)-1]))
	}
	if err != nil {
		return fail(errors.Join(err, d.Close()))
	}
	return d, nil
}

// open opens the file and cuts off half a line at its end.
func (d *DeadLetterFile) open() error {
	f, err := os.OpenFile(d.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	size, err := wholeLines(f)
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		err = syncDir(d.path)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	d.file, d.size = f, size
	return nil
}

// wholeLines returns how long a file is up to the end of its last whole line.
func wholeLines(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 64<<10)
	for end := info.Size(); end > 0; {
		start := max(0, end-int64(len(buf)))
		piece := buf[:end-start]
		if _, err := f.ReadAt(piece, start); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(piece, '\n'); i >= 0 {
			return start + int64(i) + 1, nil
		}
		end = start
	}
	return 0, nil
}

// Put appends a letter and syncs the file.
func (d *DeadLetterFile) Put(_ context.Context, letter DeadLetter) error {
	if letter.Event == nil {
		return ErrNilEvent
	}
	d.mu.Lock()
	lost, err := d.append(&letterLine{Letter: &letter})
	d.mu.Unlock()

	d.logLost(lost)
	if err != nil {
		return fmt.Errorf("notifications: dead letters: %w", err)
	}
	d.config.Logger.WithFields(letter.fields()).Error("notifications: event is a dead letter")
	return nil
}

func (d *DeadLetterFile) logLost(file string) {
	if file != "" {
		d.config.Logger.WithField("lost", file).Warn("notifications: the oldest file of dead letters is removed")
	}
}

// append writes one line, with the next number, and returns which file had to go for it. The caller holds
// the lock.
func (d *DeadLetterFile) append(l *letterLine) (lost string, err error) {
	if d.shut {
		return "", os.ErrClosed
	}
	d.last++
	l.Number = d.last
	b, err := json.Marshal(l)
	if err != nil {
		return "", err
	}
	b = append(b, '\n')
	if d.file != nil && d.size > 0 && d.size+int64(len(b)) > d.config.MaxBytes {
		if lost, err = d.rotate(); err != nil {
			return lost, err
		}
	}
	if d.file == nil {
		if err := d.open(); err != nil {
			return lost, err
		}
	}

	if _, err = d.file.Write(b); err == nil {
		err = d.file.Sync()
	}
	if err != nil {
		// What is in the file now, nobody knows: opening it again cuts off half a line. A
		// letter that is whole after all is there twice when it is put again.
		err = errors.Join(err, d.file.Close())
		d.file = nil
		return lost, err
	}
	d.size += int64(len(b))
	return lost, nil
}

// rotate gives the file a number and begins a new one with the next letter.
func (d *DeadLetterFile) rotate() (lost string, err error) {
	err = d.file.Close()
	d.file, d.size = nil, 0
	if err != nil {
		return "", err
	}
	// The number of the line that did not fit any more: no other file has it.
	if err := os.Rename(d.path, fmt.Sprintf("%s.%020d", d.path, d.last)); err != nil {
		return "", err
	}
	old, err := d.rotated()
	if err != nil {
		return "", err
	}
	if len(old) > d.config.MaxFiles {
		lost = old[0]
		err = os.Remove(lost)
	}
	return lost, errors.Join(err, syncDir(d.path))
}

// rotated returns the older files, the oldest first.
func (d *DeadLetterFile) rotated() (paths []string, err error) {
	entries, err := os.ReadDir(filepath.Dir(d.path))
	if err != nil {
		return nil, err
	}
	prefix := filepath.Base(d.path) + "."
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), prefix)
		if _, err := strconv.ParseUint(number, 10, 64); ok && err == nil && len(number) == 20 {
			paths = append(paths, filepath.Join(filepath.Dir(d.path), e.Name()))
		}
	}
	slices.Sort(paths)
	return paths, nil
}

func rotatedNumber(path string) uint64 {
	n, _ := strconv.ParseUint(path[len(path)-20:], 10, 64)
	return n
}

// Take takes letters out: see DeadLetterStore. That one was taken is written behind
// it, and on disk before Take goes on.
func (d *DeadLetterFile) Take(ctx context.Context, match func(*DeadLetter) bool, give func(*DeadLetter) error) error {
	if err := d.taking.take(ctx); err != nil {
		return err
	}
	defer d.taking.give()
	taken := make(map[uint64]bool)
	if err := d.each(ctx, func(l *letterLine) error {
		if l.Taken > 0 {
			taken[l.Taken] = true
		}
		return nil
	}); err != nil {
		return err
	}
	return d.each(ctx, func(l *letterLine) error {
		if l.Letter == nil || taken[l.Number] || !match(l.Letter) {
			return nil
		}
		if err := give(l.Letter); err != nil {
			return err
		}
		d.mu.Lock()
		lost, err := d.append(&letterLine{Taken: l.Number})
		d.mu.Unlock()
		d.logLost(lost)
		return err
	})
}

// each reads the lines that there are now, oldest first.
func (d *DeadLetterFile) each(ctx context.Context, do func(*letterLine) error) error {
	d.mu.Lock()
	files, size, err := d.openAll()
	d.mu.Unlock()
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		return fmt.Errorf("notifications: dead letters: %w", err)
	}

	for _, f := range files {
		var from io.Reader = f
		if f.Name() == d.path {
			from = io.LimitReader(f, size) // and not what is written meanwhile
		}
		if err := d.eachLine(ctx, f.Name(), from, do); err != nil {
			return err
		}
	}
	return nil
}

// openAll opens all files, so that they stay readable when they are renamed.
func (d *DeadLetterFile) openAll() (files []*os.File, size int64, err error) {
	if d.shut {
		return nil, 0, os.ErrClosed
	}
	paths, err := d.rotated()
	if err != nil {
		return nil, 0, err
	}
	for _, path := range append(paths, d.path) {
		f, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // has just been rotated, and no line come since
		}
		if err != nil {
			return files, 0, err
		}
		files = append(files, f)
	}
	return files, d.size, nil
}

func (d *DeadLetterFile) eachLine(ctx context.Context, name string, from io.Reader, do func(*letterLine) error) error {
	r := bufio.NewReader(from)
	for number := 1; ; number++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("notifications: dead letters: %w", err)
		}
		var l letterLine
		if err := json.Unmarshal(line, &l); err != nil || l.Letter != nil && l.Letter.Event == nil {
			d.config.Logger.WithFields(logrus.Fields{"file": name, "line": number}).
				WithError(err).Error("notifications: a line of the dead letters is damaged")
			continue
		}
		if err := do(&l); err != nil {
			return err
		}
	}
}

// Close closes the file. Put and Take then return os.ErrClosed.
func (d *DeadLetterFile) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = true
	if d.file == nil {
		return nil
	}
	err := d.file.Close()
	d.file = nil
	return err
}

// syncDir puts a directory's entries on disk, as a file that was made or renamed
// needs.
func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
