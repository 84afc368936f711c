package journal

import (
	"errors"
	"io"
	"sync"

	"github.com/sirupsen/logrus"
)

// sectorBytes is what is given up at once of what a disk cannot read.
const sectorBytes = 4 << 10

// readTries is how often a reader tries, which is some minutes with the delays that a hub
// has between them. At the opening, and for who only looks, there is no time for that.
const readTries = 10

// sectors counts how often a disk has failed to read.
type sectors struct {
	mu    sync.Mutex // guards tries
	tries map[badSector]int
}

type badSector struct {
	path string
	at   int64
}

// failed counts one more time, and says how often that is.
func (s *sectors) failed(path string, at int64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tries == nil {
		s.tries = make(map[badSector]int)
	}
	s.tries[badSector{path, at}]++
	return s.tries[badSector{path, at}]
}

// readable is a segment's file for scanners. What the disk cannot read, however often it
// is tried, is zeros. No checksum is right with them: so it is damage, as any other.
type readable struct {
	file
	path    string
	tries   int
	sectors *sectors
	logger  *logrus.Entry
}

func (l *log) readable(f file, path string, tries int) readable {
	return readable{f, path, tries, &l.sectors, l.logger}
}

func (r readable) ReadAt(p []byte, at int64) (int, error) {
	n, err := r.file.ReadAt(p, at)
	if err == nil || errors.Is(err, io.EOF) || len(p) == 0 {
		return n, err
	}
	if n > 0 {
		return n, nil // the next one begins where it fails
	}
	failed := r.sectors.failed(r.path, at/sectorBytes)
	if failed < r.tries {
		return 0, err
	}
	if failed == max(r.tries, 1) {
		r.logger.WithError(err).WithFields(logrus.Fields{"segment": r.path, "offset": at}).
			Error("journal: the disk cannot read; what is there is taken for damaged")
	}
	n = min(len(p), sectorBytes-int(at%sectorBytes))
	clear(p[:n])
	return n, nil
}
