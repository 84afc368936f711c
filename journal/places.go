package journal

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"
)

// placeFile keeps the places: in two files in turn, each with a checksum and a number,
// of which the one with the higher number counts. So the good one is never written to,
// and on a full disk, where a third file could not be made, deliveries go on and free
// what they have settled.
//
//	 0  "regplace"  8
//	 8  version     4
//	12  checksum    4  CRC-32C of all the rest
//	16  number      8
//	24  length      4  of the JSON that follows, in bytes
type placeFile struct {
	fs     fileSystem
	files  [2]file
	sizes  [2]int64 // set aside
	number uint64   // of the good one, which is in files[number%2]
}

const (
	placeHead  = 28
	placeMagic = "regplace"
	// placeRoom is how much is set aside for each file at first, in bytes.
	placeRoom = 64 << 10
	maxPlaces = 16 << 20
)

// placesJSON is what the files say. Salt is that of the segments, so that those of another
// journal are known, and Lost that some places were lost, and are still to be held.
type placesJSON struct {
	Places map[string]uint64 `json:"places"`
	Salt   uint32            `json:"salt"`
	Lost   bool              `json:"lost,omitempty"`
}

func placePath(dir string, i int) string {
	return filepath.Join(dir, fmt.Sprintf("places.%d", i))
}

// open reads the places, nil if there are none. damaged says that there are files, and
// none is good.
func (p *placeFile) open(fs fileSystem, dir string) (places *placesJSON, damaged bool, err error) {
	p.fs = fs
	found := false
	for i := range p.files {
		f, err := fs.Open(placePath(dir, i))
		if isGone(err) {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		p.files[i] = f
		size, err := f.Size()
		if err != nil {
			return nil, false, err
		}
		p.sizes[i] = size
		b := make([]byte, min(size, maxPlaces))
		if n, _ := f.ReadAt(b, 0); n < len(b) {
			found = true
			continue // a disk that cannot be read may have kept the other one
		}
		number, these, err := parsePlaces(b, placePath(dir, i))
		var wrong *VersionError
		if errors.As(err, &wrong) {
			return nil, false, err
		}
		found = found || size > 0 && b[0] != 0
		if err == nil && (places == nil || number > p.number) {
			p.number, places = number, these
		}
	}
	return places, found && places == nil, nil
}

// make makes the files that are not there yet.
func (p *placeFile) make(dir string) (err error) {
	for i := range p.files {
		if p.files[i] != nil {
			continue
		}
		if p.files[i], err = p.fs.Create(placePath(dir, i)); err != nil {
			return err
		}
		if err := p.grow(i, placeRoom); err != nil {
			return err
		}
	}
	return p.fs.SyncDir(dir) // also of what a run has made that was killed
}

func (p *placeFile) grow(i int, size int64) error {
	if p.sizes[i] >= size {
		return nil
	}
	if err := p.files[i].Allocate(size); err != nil {
		return err
	}
	p.sizes[i] = size
	return p.files[i].Sync()
}

// write puts the places where the good ones are not, and only then are these the good
// ones.
func (p *placeFile) write(places placesJSON, durable bool) error {
	number := p.number + 1
	i := int(number % 2)
	b, err := appendPlaces(nil, number, places)
	if err != nil {
		return err
	}
	if size := int64(len(b)); size > p.sizes[i] {
		if err := p.grow(i, 2*size); err != nil {
			return err
		}
	}
	n, err := p.files[i].WriteAt(b, 0)
	if err == nil && n < len(b) {
		err = fmt.Errorf("short write: %d bytes of %d", n, len(b))
	}
	if err == nil && durable {
		err = p.files[i].Sync()
	}
	if err == nil {
		p.number = number
	}
	return err
}

func (p *placeFile) close() (err error) {
	for _, f := range p.files {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

func appendPlaces(b []byte, number uint64, places placesJSON) ([]byte, error) {
	body, err := json.Marshal(places)
	if err != nil {
		return b, err
	}
	start := len(b)
	b = append(b, placeMagic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, number)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	binary.LittleEndian.PutUint32(b[start+12:], placesSum(b[start:]))
	return b, nil
}

func placesSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:])
}

var errNoPlaces = errors.New("journal: no places")

func parsePlaces(b []byte, path string) (number uint64, places *placesJSON, err error) {
	if len(b) < placeHead || string(b[:8]) != placeMagic {
		return 0, nil, errNoPlaces
	}
	length := int64(binary.LittleEndian.Uint32(b[24:]))
	if length > int64(len(b)-placeHead) {
		return 0, nil, errNoPlaces
	}
	b = b[:placeHead+length]
	if placesSum(b) != binary.LittleEndian.Uint32(b[12:]) {
		return 0, nil, errNoPlaces
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return 0, nil, &VersionError{Path: path, Version: v}
	}
	all := new(placesJSON)
	if err := json.Unmarshal(b[placeHead:], all); err != nil {
		return 0, nil, errNoPlaces
	}
	if all.Places == nil {
		all.Places = make(map[string]uint64)
	}
	return binary.LittleEndian.Uint64(b[16:]), all, nil
}

// saveAgain is how long the saver waits after an error.
const saveAgain = time.Second

// keepSaving is the goroutine that has the places on disk soon after they change.
func (l *log) keepSaving() {
	defer l.ended.Done()
	var again <-chan time.Time
	failing := false
	for {
		dirty := l.dirty
		if again != nil {
			dirty = nil // not sooner, whatever happens
		}
		select {
		case <-dirty:
		case <-again:
		case <-l.quit:
			return
		}
		again = nil
		err := l.save(false)
		switch {
		case err == nil && failing:
			l.logger.Info("journal: cursors are saved again")
		case err != nil && !failing:
			l.logger.WithError(err).Error("journal: cursors cannot be saved; deliveries go on, and more may come twice after a crash")
		}
		if failing = err != nil; failing {
			again = time.After(saveAgain)
		}
	}
}

// save has the places on disk, and then removes the segments that are behind all of them.
// durable is for what somebody is told is on disk, whatever the configuration says of
// syncs.
func (l *log) save(durable bool) error {
	l.saving.Lock()
	defer l.saving.Unlock()
	if l.over {
		return errClosed
	}
	l.mu.Lock()
	if l.keepAll && len(l.named) == 0 {
		l.mu.Unlock()
		return nil // or the next start would take it for the truth
	}
	forgotten := len(l.forgotten)
	places := make(map[string]uint64, len(l.named))
	for name, p := range l.named {
		places[name] = p.position
	}
	goes := l.goes(places)
	lost := l.keepAll
	l.mu.Unlock()

	err := l.places.write(placesJSON{places, l.salt, lost}, durable || goes || l.config.Sync == SyncAlways)

	l.mu.Lock()
	l.saveErr = err
	if err == nil {
		l.forgotten = l.forgotten[forgotten:]
		for name, position := range places {
			if p := l.named[name]; p != nil {
				p.saved = position
			}
		}
	}
	l.wake()
	l.roomAgain()
	l.mu.Unlock()
	l.trim(err == nil)
	if err != nil {
		l.changed() // the saver tries again
		return &WriteError{fmt.Errorf("cursors: %w", err)}
	}
	return nil
}

// trim removes the segments that nobody needs any more, whole; of those that a limit has
// dropped from under a place, when it is on disk that the place is past them.
func (l *log) trim(doomed bool) {
	l.mu.Lock()
	behind := l.behind(l.config.Retain)
	gone := append(l.segments[:0:0], l.segments[:behind]...)
	l.segments = l.segments[behind:]
	l.damage.forget(l.first())
	if doomed {
		gone, l.doomed = append(l.doomed, gone...), nil
	}
	if len(gone) > 0 {
		l.roomAgain()
		l.closeReaders(false)
	}
	l.mu.Unlock()

	for _, seg := range gone {
		if err := l.fs.Remove(seg.path); err != nil && !isGone(err) {
			l.logger.WithError(err).WithFields(logrus.Fields{"segment": seg.path}).Warn("journal: removing a segment")
		}
	}
}

// behind returns how many segments, from the oldest, all places are past on disk, and
// that are older than what is retained. The newest is never among them. The caller holds
// the lock.
func (l *log) behind(retain time.Duration) (n int) {
	if l.keepAll {
		return 0 // there are places that nobody knows
	}
	settled := l.last
	for _, p := range l.forgotten {
		settled = min(settled, p.saved)
	}
	for _, p := range l.named {
		settled = min(settled, p.saved, p.position)
	}
	for n+1 < len(l.segments) && l.segments[n+1].first <= settled+1 {
		if retain > 0 && l.now().Sub(l.segments[n+1].begun) < retain {
			break
		}
		n++
	}
	return n
}

// goes says that segments may be removed when these places are saved. The caller holds the
// lock.
func (l *log) goes(places map[string]uint64) bool {
	settled := l.last
	for _, position := range places {
		settled = min(settled, position)
	}
	return len(l.doomed) > 0 || len(l.segments) > 1 && l.segments[1].first <= settled+1
}
