package journal

import (
	"encoding/binary"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fuzzSalt is the salt of the frames in the seeds.
const fuzzSalt = 0x5eed

// fuzzFrame returns a whole frame.
func fuzzFrame(position, acknowledged uint64, index, rest int, payload string) []byte {
	b, _ := appendFrame(nil, index, rest, func(b []byte) ([]byte, error) { return append(b, payload...), nil })
	number(b, fuzzSalt, position, acknowledged, 1_700_000_000_000_000_000+int64(position))
	return b
}

// fuzzSegments are segments without their headers: whole, torn, damaged, and none.
func fuzzSegments() (segments [][]byte) {
	var whole []byte
	for _, f := range []struct {
		position, acknowledged uint64
		index, rest            int
	}{{1, 0, 0, 0}, {2, 1, 0, 2}, {3, 1, 1, 1}, {4, 1, 2, 0}, {5, 4, 0, 1}, {6, 4, 1, 0}} {
		whole = append(whole, fuzzFrame(f.position, f.acknowledged, f.index, f.rest, "payload")...)
	}
	marked := appendMark(whole[:len(whole):len(whole)], fuzzSalt, 7, 1_700_000_000_000_000_007)
	flipped := append([]byte(nil), marked...)
	flipped[len(whole)-1] ^= 1
	huge := append([]byte(nil), whole...)
	binary.LittleEndian.PutUint32(huge[8:], 1<<31)
	return [][]byte{
		nil, whole, marked, flipped, huge, whole[:len(whole)-3], whole[:len(whole)-20], make([]byte, 100),
		append(make([]byte, 100), whole...), append(whole[:len(whole):len(whole)], make([]byte, 100)...), marker, whole[:frameHead],
	}
}

// fuzzFile returns a segment of that content, whose header nobody looks at.
func fuzzFile(content []byte) (file, int64) {
	data := append(make([]byte, segmentHead), content...)
	return &memFile{newMemFS(), &memInode{data: data}}, int64(len(data))
}

// fuzzFrames returns whole frames as a program has them, because a fuzzer finds no
// checksum: four bytes for each, or one for a piece of garbage.
func fuzzFrames(first uint64, program []byte) (b []byte) {
	for len(program) >= 4 {
		if program[0] == 0xff {
			b, program = append(b, 0xff), program[1:]
			continue
		}
		position := first + uint64(program[0]%32)
		acknowledged := position - min(position, 1+uint64(program[1]%8))
		if program[2]&0x80 > 0 {
			b = appendMark(b, fuzzSalt, position, int64(position))
		} else {
			b = append(b, fuzzFrame(position, acknowledged, int(program[2]%8), int(program[3]%8), "payload")...)
		}
		program = program[4:]
	}
	return b
}

// FuzzScan: whatever stands in a segment, the scanner comes to its end, returns what is
// whole and nothing else, and finds the frame behind it.
func FuzzScan(f *testing.F) {
	for _, s := range fuzzSegments() {
		f.Add(s, "event", []byte("tail"), int16(0))
		f.Add(s, string(marker), s, int16(-1))
	}
	f.Fuzz(func(t *testing.T, garbage []byte, payload string, tail []byte, over int16) {
		wanted := fuzzFrame(77, 76, 0, 0, payload)
		content := append(append(append([]byte(nil), garbage...), wanted...), tail...)
		file, size := fuzzFile(content)
		s := newScanner(file, fuzzSalt, size+max(int64(over), 0)) // the file may be shorter than it should be
		data := append(make([]byte, segmentHead), content...)
		found := false
		for before := int64(segmentHead); ; {
			frame, at, gap, err := s.next()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			require.LessOrEqual(t, before, gap)
			require.LessOrEqual(t, gap, at)
			end := at + frameHead + int64(len(frame.payload))
			require.LessOrEqual(t, end, size)
			again, n, err := parseFrame(data[at:end], fuzzSalt)
			require.NoError(t, err)
			require.Equal(t, again, frame)
			require.EqualValues(t, end-at, n)
			found = found || at == segmentHead+int64(len(garbage))
			before = end
		}
		require.True(t, found, "the frame behind the garbage")
	})
}

// FuzzRecord: the short way to the next record has the same as the long one.
func FuzzRecord(f *testing.F) {
	for _, s := range fuzzSegments() {
		f.Add(s, uint64(1))
	}
	f.Fuzz(func(t *testing.T, content []byte, position uint64) {
		file, size := fuzzFile(content)
		short, long := newScanner(file, fuzzSalt, size), newScanner(file, fuzzSalt, size)
		for {
			rec, ok := short.record(position)
			frame, _, _, err := long.next()
			if ok {
				require.NoError(t, err)
				require.Equal(t, record{frame.position, frame.time, frame.payload}, rec)
				position++
				continue
			}
			frame2, _, _, err2 := short.next()
			require.Equal(t, err, err2)
			require.Equal(t, frame, frame2)
			if err != nil {
				return
			}
		}
	})
}

// FuzzFindEnd: the end of a segment is in it, what is kept is kept the next time too, and
// only zeros are not counted of what is cut off.
func FuzzFindEnd(f *testing.F) {
	for _, s := range fuzzSegments() {
		f.Add(s, uint64(0), []byte(nil))
		f.Add(s, uint64(3), []byte(nil))
		f.Add(s, uint64(8), []byte(nil)) // of another place
		f.Add([]byte(nil), uint64(0), s)
	}
	// A record, a block whose last is missing, a block that is damaged, a mark.
	f.Add([]byte(nil), uint64(0), []byte("\x00\x00\x00\x00\x01\x01\x00\x02\x02\x01\x01\x01\xff\x04\x02\x00\x00\x05\x02\x80\x00"))
	f.Fuzz(func(t *testing.T, content []byte, first uint64, program []byte) {
		first = first%(1<<62) + 1 // there are no others
		content = append(content[:len(content):len(content)], fuzzFrames(first, program)...)
		file, size := fuzzFile(content)
		found, err := findEnd(file, fuzzSalt, size, first)
		require.NoError(t, err)
		require.LessOrEqual(t, found.end, size)
		require.GreaterOrEqual(t, found.end, int64(segmentHead))
		require.GreaterOrEqual(t, found.last, first-1)
		require.GreaterOrEqual(t, found.torn, int64(0))
		require.LessOrEqual(t, found.end+found.torn, size)
		data := append(make([]byte, segmentHead), content...)
		for _, b := range data[found.end+found.torn:] {
			require.Zero(t, b)
		}

		end, err := cut(file, found, fuzzSalt)
		require.NoError(t, err)
		again, err := findEnd(file, fuzzSalt, end, first)
		require.NoError(t, err)
		require.Equal(t, found.last, again.last)
		require.Equal(t, end, again.end)
		require.Zero(t, again.torn)
	})
}

// FuzzPlaces: what is read as places is what would be written for them.
func FuzzPlaces(f *testing.F) {
	one, _ := appendPlaces(nil, 1, placesJSON{Places: map[string]uint64{"a": 1, "": 1 << 63}, Salt: 7, Lost: true})
	none, _ := appendPlaces(nil, 1<<63, placesJSON{})
	for _, seed := range [][]byte{one, none, one[:len(one)-1], append(one[:len(one):len(one)], 0, 0), nil, make([]byte, 100)} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		if mend && len(b) >= placeHead { // or the checksum keeps the fuzzer out
			b = append([]byte(nil), b...)
			copy(b, placeMagic)
			length := binary.LittleEndian.Uint32(b[24:]) % uint32(len(b)-placeHead+1)
			binary.LittleEndian.PutUint32(b[24:], length)
			binary.LittleEndian.PutUint32(b[12:], placesSum(b[:placeHead+length]))
		}
		number, places, err := parsePlaces(b, "path")
		var other *VersionError
		switch {
		case errors.As(err, &other):
			require.NotEqual(t, uint32(version), other.Version)
			return
		case err != nil:
			require.ErrorIs(t, err, errNoPlaces)
			return
		}
		require.NotNil(t, places)
		written, err := appendPlaces(nil, number, *places)
		require.NoError(t, err)
		againNumber, again, err := parsePlaces(written, "path")
		require.NoError(t, err)
		require.Equal(t, number, againNumber)
		require.Equal(t, places, again)
	})
}

// FuzzSegmentHead: a header is read as it was written, or not at all; and a name that is
// a segment's is the one that would be given to it.
func FuzzSegmentHead(f *testing.F) {
	head := appendSegmentHead(nil, 7, fuzzSalt, time.Unix(1_700_000_000, 5))
	f.Add(head, uint32(fuzzSalt), "00000000000000000007-00005eed.seg", false)
	f.Add(head, uint32(0), "7-5eed.seg", true)
	f.Add(head[:20], uint32(fuzzSalt), "00000000000000000007-00005eed.seg ", true)
	f.Add([]byte(nil), uint32(0), "99999999999999999999-ffffffff.seg", false)
	f.Fuzz(func(t *testing.T, b []byte, salt uint32, name string, mend bool) {
		if first, salt, ok := parseSegmentName(name); ok {
			require.Equal(t, name, filepath.Base(segmentPath("dir", first, salt)))
		}
		if mend && len(b) >= segmentHead {
			b = append([]byte(nil), b...)
			copy(b, segmentMagic)
			binary.LittleEndian.PutUint32(b[12:], segmentSum(b, salt))
		}
		created, ok, err := parseSegmentHead(b, "path", salt)
		var other *VersionError
		switch {
		case errors.As(err, &other):
			require.NotEqual(t, uint32(version), other.Version)
		case ok:
			require.NoError(t, err)
			first := binary.LittleEndian.Uint64(b[16:])
			require.Equal(t, b[:segmentHead], appendSegmentHead(nil, first, salt, created))
		default:
			require.NoError(t, err)
			require.False(t, mend && len(b) >= segmentHead)
		}
	})
}
