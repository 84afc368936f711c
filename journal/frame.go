package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// frame is a record as it stands in a segment: 40 bytes of head, little endian, and the
// payload.
//
//	 0  marker    4  where a frame may begin
//	 4  checksum  4  CRC-32C of all that follows, begun with the journal's salt
//	 8  length    4  of the payload, in bytes; 0 is a mark
//	12  index     4  records of the same block before this one
//	16  rest      4  records of the same block behind this one
//	20  behind    4  distance from the last position that was acknowledged by then
//	24  position  8
//	32  time      8  Unix time of the write, in nanoseconds
//
// With index and rest a reader knows whether it has all of a block, and with behind
// whether what is missing was ever acknowledged: damage if it was, and the torn tail of
// a crash if not. A mark is no record: it says what was acknowledged, at a clean end.
// The salt keeps an event from containing a frame that would be taken for real.
type frame struct {
	position uint64
	index    uint32
	rest     uint32
	behind   uint32
	time     int64
	payload  []byte
}

const (
	frameHead = 40
	// maxPayload bounds a record, so that a damaged length is not believed, and maxEvent
	// an event, whose dead letter says some more.
	maxPayload = maxEvent + 1<<20
	maxEvent   = 64 << 20
)

// marker has no byte that JSON or ASCII would have.
var marker = []byte{0xc3, 0x8a, 0xf5, 0xfe}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errShort = errors.New("journal: a frame goes on behind what was read")
	errBad   = errors.New("journal: no frame")
)

// appendFrame appends a payload with room for its head, of which it fills in what is
// known before the frame has a place in the log. encode appends the payload.
func appendFrame(b []byte, index, rest int, encode func([]byte) ([]byte, error)) ([]byte, error) {
	start := len(b)
	b = append(b, make([]byte, frameHead)...)
	b, err := encode(b)
	if err != nil {
		return b[:start], err
	}
	head := b[start : start+frameHead]
	copy(head, marker)
	binary.LittleEndian.PutUint32(head[8:], uint32(len(b)-start-frameHead))
	binary.LittleEndian.PutUint32(head[12:], uint32(index))
	binary.LittleEndian.PutUint32(head[16:], uint32(rest))
	return b, nil
}

// number finishes the frame at the front of b, and returns its size.
func number(b []byte, salt uint32, position, acknowledged uint64, time int64) int {
	behind := min(position-acknowledged, 1<<32-1)
	binary.LittleEndian.PutUint32(b[20:], uint32(behind))
	binary.LittleEndian.PutUint64(b[24:], position)
	binary.LittleEndian.PutUint64(b[32:], uint64(time))
	size := frameSize(b)
	binary.LittleEndian.PutUint32(b[4:], crc32.Update(salt, castagnoli, b[8:size]))
	return size
}

// appendMark appends a mark: everything before the next position was acknowledged.
func appendMark(b []byte, salt uint32, next uint64, time int64) []byte {
	start := len(b)
	b, _ = appendFrame(b, 0, 0, func(b []byte) ([]byte, error) { return b, nil })
	number(b[start:], salt, next, next-1, time)
	return b
}

// parseFrame returns the frame at the front of b and its size. The error is errBad if
// there is none, and errShort with the size that is needed if b ends too early to say.
func parseFrame(b []byte, salt uint32) (f frame, size int, err error) {
	if len(b) < frameHead {
		if n := min(len(b), len(marker)); !bytes.Equal(b[:n], marker[:n]) {
			return f, 0, errBad
		}
		return f, frameHead, errShort
	}
	size = frameSize(b)
	if !bytes.Equal(b[:4], marker) || binary.LittleEndian.Uint32(b[8:]) > maxPayload {
		return f, 0, errBad
	}
	if len(b) < size {
		return f, size, errShort
	}
	if !isWhole(b, size, salt) {
		return f, 0, errBad
	}
	return frameAt(b, size), size, nil
}

// isWhole says whether the checksum of a frame of that size is right.
func isWhole(b []byte, size int, salt uint32) bool {
	return crc32.Update(salt, castagnoli, b[8:size]) == binary.LittleEndian.Uint32(b[4:])
}

func frameSize(b []byte) int { return frameHead + int(binary.LittleEndian.Uint32(b[8:])) }

// frameAt returns the frame at the front of b, which is known to be whole.
func frameAt(b []byte, size int) frame {
	return frame{
		index:    binary.LittleEndian.Uint32(b[12:]),
		rest:     binary.LittleEndian.Uint32(b[16:]),
		behind:   binary.LittleEndian.Uint32(b[20:]),
		position: binary.LittleEndian.Uint64(b[24:]),
		time:     int64(binary.LittleEndian.Uint64(b[32:])),
		payload:  b[frameHead:size:size],
	}
}

// isMark says that the frame is no record.
func (f *frame) isMark() bool { return len(f.payload) == 0 }

// acknowledged is the last position that was acknowledged when the frame was written.
// Zero means that nobody knows, of one too far away.
func (f *frame) acknowledged() uint64 {
	if f.behind == 1<<32-1 || uint64(f.behind) > f.position {
		return 0
	}
	return f.position - uint64(f.behind)
}
