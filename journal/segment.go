package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"strings"
	"time"
)

// version is that of the format of segments and of the cursor file.
const version = 1

// segment is one file of the log. Its name has the position of its first record, and
// the journal's salt, so that a damaged header loses nothing:
//
//	 0  "regnotes"  8
//	 8  version     4
//	12  checksum    4  CRC-32C of all the rest, begun with the salt
//	16  first       8  position of the first record
//	24  created     8  Unix time in nanoseconds
//	32  frames
//
// Each is written by one run of the journal, and never again once another one has begun.
type segment struct {
	path    string
	first   uint64
	created time.Time // as the header has it: made to grow, as the times of records are
	begun   time.Time // by the clock, for limits

	size   int64     // of what was written and acknowledged, in bytes
	room   int64     // that is set aside for it on disk, in bytes
	newest time.Time // record; zero if an earlier run has written it

	damaged bool // in its header
}

// taken is how much of the disk a segment takes, in bytes.
func (s *segment) taken() int64 { return max(s.size, s.room) }

const (
	segmentHead  = 32
	segmentMagic = "regnotes"
	suffix       = ".seg"
)

func segmentPath(dir string, first uint64, salt uint32) string {
	return filepath.Join(dir, fmt.Sprintf("%020d-%08x%s", first, salt, suffix))
}

// parseSegmentName returns what a file's name says, if it is a segment's.
func parseSegmentName(name string) (first uint64, salt uint32, ok bool) {
	if !strings.HasSuffix(name, suffix) {
		return 0, 0, false
	}
	if n, err := fmt.Sscanf(name, "%020d-%08x"+suffix, &first, &salt); n != 2 || err != nil {
		return 0, 0, false
	}
	return first, salt, name == filepath.Base(segmentPath("", first, salt))
}

func appendSegmentHead(b []byte, first uint64, salt uint32, created time.Time) []byte {
	start := len(b)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, first)
	b = binary.LittleEndian.AppendUint64(b, uint64(created.UnixNano()))
	binary.LittleEndian.PutUint32(b[start+12:], segmentSum(b[start:], salt))
	return b
}

func segmentSum(head []byte, salt uint32) uint32 {
	return crc32.Update(crc32.Update(salt, castagnoli, head[:12]), castagnoli, head[16:segmentHead])
}

// parseSegmentHead returns when a segment was begun. ok is false if the header is
// damaged or was never written; the error is a *VersionError.
func parseSegmentHead(head []byte, path string, salt uint32) (created time.Time, ok bool, err error) {
	if len(head) < segmentHead || string(head[:8]) != segmentMagic ||
		segmentSum(head, salt) != binary.LittleEndian.Uint32(head[12:]) {
		return time.Time{}, false, nil
	}
	if v := binary.LittleEndian.Uint32(head[8:]); v != version {
		return time.Time{}, false, &VersionError{Path: path, Version: v}
	}
	return time.Unix(0, int64(binary.LittleEndian.Uint64(head[24:]))), true, nil
}
