package journal

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// crashFS is a fileSystem in memory that knows what a crash would leave of it. Of each
// file it has what is written and what is durable, in sectors; of its directories, which
// entries are. As on a real disk, the sync of a file says nothing of its entry.
type crashFS struct {
	mu      sync.Mutex // guards all of it, files included
	rand    *rand.Rand
	now     map[string]*crashInode // as whoever looks sees it
	durable map[string]*crashInode // as a power cut would leave it, at least
	locks   map[string]bool

	// between is called between two operations, with the lock held.
	between func()
	// failing is how many of a thousand operations that write fail.
	failing int
}

var _ fileSystem = (*crashFS)(nil)

// sector is what a disk writes as a whole or not at all, in bytes.
const sector = 512

// crashInode is a file's content, with a name or without.
type crashInode struct {
	data    []byte
	durable []byte
	// dirty are the sectors that may differ. Those in doubt are of a sync that failed:
	// a later one does not write them again, nor says that they are lost.
	dirty, doubt map[int64]bool
}

func newCrashFS(random *rand.Rand) *crashFS {
	return &crashFS{
		rand: random, now: make(map[string]*crashInode), durable: make(map[string]*crashInode), locks: make(map[string]bool),
	}
}

// killed returns what the end of the process leaves: all that was written, as durable as
// it was. The caller holds the lock.
func (c *crashFS) killed(random *rand.Rand) *crashFS {
	left := newCrashFS(random)
	copies := make(map[*crashInode]*crashInode)
	for _, both := range []struct{ from, to map[string]*crashInode }{{c.now, left.now}, {c.durable, left.durable}} {
		for path, inode := range both.from {
			if copies[inode] == nil {
				copies[inode] = &crashInode{
					slices.Clone(inode.data), slices.Clone(inode.durable), maps.Clone(inode.dirty), maps.Clone(inode.doubt),
				}
			}
			both.to[path] = copies[inode]
		}
	}
	return left
}

// cut returns what a power cut leaves: of what was not synced, each part by chance. The
// caller holds the lock.
func (c *crashFS) cut(random *rand.Rand) *crashFS {
	// How likely a part survives is by chance, too: all or nothing are among the cases.
	odds := func() func() bool {
		of := []int{0, 1, 5, 9, 10}[random.IntN(5)]
		return func() bool { return random.IntN(10) < of }
	}
	entry, part := odds(), odds()
	left := newCrashFS(random)
	paths := make(map[string]bool)
	for _, all := range []map[string]*crashInode{c.now, c.durable} {
		for path := range all {
			paths[path] = true
		}
	}
	for _, path := range slices.Sorted(maps.Keys(paths)) { // in order, for the sake of the seed
		inode := c.durable[path]
		if c.now[path] != inode && entry() {
			inode = c.now[path]
		}
		if inode == nil {
			continue
		}
		data := inode.survives(part)
		left.now[path] = &crashInode{data: data, durable: slices.Clone(data), dirty: make(map[int64]bool), doubt: make(map[int64]bool)}
		left.durable[path] = left.now[path]
	}
	return left
}

// survives returns what a power cut leaves of a file.
func (i *crashInode) survives(part func() bool) []byte {
	size := len(i.durable)
	if len(i.data) != size && part() {
		size = len(i.data)
	}
	left := make([]byte, size)
	copy(left, i.durable)
	loose := maps.Clone(i.dirty)
	maps.Copy(loose, i.doubt)
	for _, s := range slices.Sorted(maps.Keys(loose)) {
		if from, to := s*sector, min((s+1)*sector, int64(size), int64(len(i.data))); from < to && part() {
			copy(left[from:to], i.data[from:to])
		}
	}
	return left
}

// enter begins an operation, and returns with the lock.
func (c *crashFS) enter() {
	c.mu.Lock()
	if c.between != nil {
		c.between()
	}
}

// fails says whether this time an operation fails that writes. The caller holds the lock.
func (c *crashFS) fails() bool { return c.failing > 0 && c.rand.IntN(1000) < c.failing }

var errCrashFS = errors.New("crashFS: told to fail")

func (c *crashFS) MakeDir(string) error { return nil }

func (c *crashFS) Names(dir string) ([]string, error) {
	c.enter()
	defer c.mu.Unlock()
	return namesIn(dir, c.now), nil
}

func (c *crashFS) Create(path string) (file, error) {
	c.enter()
	defer c.mu.Unlock()
	if c.now[path] != nil {
		return nil, &os.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	if c.fails() {
		return nil, errCrashFS
	}
	c.now[path] = &crashInode{dirty: make(map[int64]bool), doubt: make(map[int64]bool)}
	return &crashFile{c, c.now[path]}, nil
}

func (c *crashFS) Open(path string) (file, error) {
	c.enter()
	defer c.mu.Unlock()
	if c.now[path] == nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return &crashFile{c, c.now[path]}, nil
}

func (c *crashFS) Remove(path string) error {
	c.enter()
	defer c.mu.Unlock()
	if c.now[path] == nil {
		return &os.PathError{Op: "remove", Path: path, Err: fs.ErrNotExist}
	}
	if c.fails() {
		return errCrashFS
	}
	delete(c.now, path)
	return nil
}

func (c *crashFS) SyncDir(dir string) error {
	c.enter()
	defer c.mu.Unlock()
	if c.fails() {
		return errCrashFS
	}
	in := func(path string, _ *crashInode) bool { return filepath.Dir(path) == dir }
	maps.DeleteFunc(c.durable, in)
	for path, inode := range c.now {
		if in(path, inode) {
			c.durable[path] = inode
		}
	}
	return nil
}

func (c *crashFS) Lock(path string) (io.Closer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.locks[path] {
		return nil, &LockedError{Path: path}
	}
	c.locks[path] = true
	return closer(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.locks, path)
	}), nil
}

// segments calls a function with the content of each segment in a directory, oldest
// first. What it changes is as if it had been written so.
func (c *crashFS) segments(dir string, f func(salt uint32, data []byte)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range namesIn(dir, c.now) {
		if _, salt, ok := parseSegmentName(name); ok {
			f(salt, c.now[filepath.Join(dir, name)].data)
		}
	}
}

// crashFile is an open file of a crashFS.
type crashFile struct {
	fs    *crashFS
	inode *crashInode
}

func (f *crashFile) ReadAt(b []byte, at int64) (n int, err error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return readAt(b, f.inode.data, at)
}

func (f *crashFile) WriteAt(b []byte, at int64) (n int, err error) {
	f.fs.enter()
	defer f.fs.mu.Unlock()
	if f.fs.fails() {
		b, err = b[:f.fs.rand.IntN(len(b)+1)], errCrashFS
	}
	f.inode.resize(max(at+int64(len(b)), int64(len(f.inode.data))))
	n = copy(f.inode.data[at:], b)
	f.inode.touch(at, at+int64(n))
	return n, err
}

func (f *crashFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.inode.data)), nil
}

func (f *crashFile) Truncate(size int64) error {
	f.fs.enter()
	defer f.fs.mu.Unlock()
	if f.fs.fails() {
		return errCrashFS
	}
	f.inode.resize(size)
	return nil
}

func (f *crashFile) Allocate(size int64) error {
	f.fs.enter()
	defer f.fs.mu.Unlock()
	if f.fs.fails() {
		return errCrashFS
	}
	f.inode.resize(max(size, int64(len(f.inode.data))))
	return nil
}

func (f *crashFile) Sync() error {
	f.fs.enter()
	defer f.fs.mu.Unlock()
	i := f.inode
	if f.fs.fails() {
		maps.Copy(i.doubt, i.dirty)
		clear(i.dirty)
		return errCrashFS
	}
	if size := len(i.data); size <= len(i.durable) {
		i.durable = slices.Clip(i.durable[:size])
	} else {
		i.durable = append(i.durable, make([]byte, size-len(i.durable))...)
	}
	for s := range i.dirty {
		if from, to := s*sector, min((s+1)*sector, int64(len(i.data))); from < to {
			copy(i.durable[from:to], i.data[from:to])
		}
	}
	clear(i.dirty)
	return nil
}

func (*crashFile) Close() error { return nil }

// touch marks what is written, and not durable.
func (i *crashInode) touch(from, to int64) {
	for s := from / sector; s*sector < to; s++ {
		i.dirty[s] = true
		delete(i.doubt, s)
	}
}

// resize cuts the content, or makes it longer with zeros. What is cut off may be seen
// again after a crash, and not otherwise.
func (i *crashInode) resize(size int64) {
	was := int64(len(i.data))
	if size < was {
		i.data = slices.Clone(i.data[:size])
		i.touch(size, was)
		return
	}
	if size > was {
		i.data = append(i.data, make([]byte, size-was)...)
		i.touch(was, min(size, int64(len(i.durable)))) // where zeros hide what is durable
	}
}
