package journal

import (
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// memFS is a fileSystem in memory, whose directories need not be made. It is fast enough
// to open a journal for each byte of it.
type memFS struct {
	mu    sync.Mutex // guards all of it, files included
	files map[string]*memInode
	locks map[string]bool
}

var _ fileSystem = (*memFS)(nil)

func newMemFS() *memFS {
	return &memFS{files: make(map[string]*memInode), locks: make(map[string]bool)}
}

// memInode is a file's content. What is shared with an image is copied before it is
// changed.
type memInode struct {
	data   []byte
	shared bool
}

// image is what files hold, by their paths.
type image map[string][]byte

// image returns what the files hold now.
func (m *memFS) image() image {
	m.mu.Lock()
	defer m.mu.Unlock()
	held := make(image, len(m.files))
	for path, inode := range m.files {
		held[path] = slices.Clone(inode.data)
	}
	return held
}

// fs returns a file system that begins with the image.
func (i image) fs() *memFS {
	m := newMemFS()
	for path, data := range i {
		m.files[path] = &memInode{data, true}
	}
	return m
}

// with returns the image with another content of one file; without it, if that is nil.
func (i image) with(path string, data []byte) image {
	i = maps.Clone(i)
	if i[path] = data; data == nil {
		delete(i, path)
	}
	return i
}

// segments returns the paths of the segments, oldest first.
func (i image) segments() (paths []string) {
	for path := range i {
		if _, _, ok := parseSegmentName(filepath.Base(path)); ok {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

func (m *memFS) MakeDir(string) error { return nil }

func (m *memFS) SyncDir(string) error { return nil }

func (m *memFS) Names(dir string) (names []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return namesIn(dir, m.files), nil
}

func namesIn[T any](dir string, files map[string]T) (names []string) {
	for path := range files {
		if filepath.Dir(path) == dir {
			names = append(names, filepath.Base(path))
		}
	}
	slices.Sort(names)
	return names
}

func (m *memFS) Create(path string) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[path] != nil {
		return nil, &os.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	m.files[path] = new(memInode)
	return &memFile{m, m.files[path]}, nil
}

func (m *memFS) Open(path string) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[path] == nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return &memFile{m, m.files[path]}, nil
}

func (m *memFS) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[path] == nil {
		return &os.PathError{Op: "remove", Path: path, Err: fs.ErrNotExist}
	}
	delete(m.files, path)
	return nil
}

func (m *memFS) Lock(path string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[path] {
		return nil, &LockedError{Path: path}
	}
	m.locks[path] = true
	return closer(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.locks, path)
	}), nil
}

// closer is a function to be called by Close.
type closer func()

func (c closer) Close() error {
	c()
	return nil
}

// memFile is an open file of a memFS.
type memFile struct {
	fs    *memFS
	inode *memInode
}

func (f *memFile) ReadAt(b []byte, at int64) (n int, err error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return readAt(b, f.inode.data, at)
}

func readAt(b, data []byte, at int64) (n int, err error) {
	if at < int64(len(data)) {
		n = copy(b, data[at:])
	}
	if n < len(b) {
		err = io.EOF
	}
	return n, err
}

func (f *memFile) WriteAt(b []byte, at int64) (n int, err error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.inode.resize(max(at+int64(len(b)), int64(len(f.inode.data))))
	if f.inode.shared {
		f.inode.data, f.inode.shared = slices.Clone(f.inode.data), false
	}
	return copy(f.inode.data[at:], b), nil
}

func (f *memFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.inode.data)), nil
}

func (f *memFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.inode.resize(size)
	return nil
}

func (f *memFile) Allocate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.inode.resize(max(size, int64(len(f.inode.data))))
	return nil
}

func (*memFile) Sync() error { return nil }

func (*memFile) Close() error { return nil }

// resize cuts the content, or makes it longer with zeros.
func (i *memInode) resize(size int64) {
	if size <= int64(len(i.data)) {
		i.data = i.data[:size:size] // what is cut off does not come back
		return
	}
	data := make([]byte, size)
	copy(data, i.data)
	i.data, i.shared = data, false
}
