package notifications

import (
	"bytes"
	"slices"
	"sync/atomic"
)

const chunkSize = 64

// chunk is a link of a memoryLog's chain. The log's lock guards its end; what is in it
// already never changes, and is read without. When its events have waited for long they
// are packed: their encodings, one behind the other, are all that is kept of them.
type chunk struct {
	first  uint64 // number of the first event
	next   *chunk
	events atomic.Pointer[[chunkSize]*Event] // nil once they are packed
	packed atomic.Pointer[packed]
}

func newChunk(first uint64) *chunk {
	c := &chunk{first: first}
	c.events.Store(new([chunkSize]*Event))
	return c
}

// add puts as many events as there is room for behind the have that are in it, and
// returns how many these are. Only the last chunk is added to, and it is not packed.
func (c *chunk) add(have int, events []*Event) int { return copy(c.events.Load()[have:], events) }

// copy fills block with the events from number i of the chunk on.
func (c *chunk) copy(block []*Event, i int) int {
	if events := c.events.Load(); events != nil {
		return copy(block, events[i:])
	}
	return c.packed.Load().copy(block, i)
}

// packer packs chunks. Several may be at it at once.
type packer struct {
	perEvent atomic.Int64 // bytes that an event took lately
}

// pack packs chunks, which are full.
func (p *packer) pack(chunks []*chunk) {
	for some := range slices.Chunk(chunks, 4*packChunks) {
		p.packTogether(some)
	}
}

// packTogether packs chunks into one piece of memory.
func (p *packer) packTogether(chunks []*chunk) {
	events := int64(len(chunks) * chunkSize)
	b := make([]byte, 0, events*max(256, p.perEvent.Load()))
	all := make([]packed, len(chunks))
	for i, c := range chunks {
		var err error
		if b, err = all[i].add(b, c.events.Load()); err != nil || uint64(len(b)) > 1<<32-1 {
			return // what cannot be packed stays as it is
		}
	}
	p.perEvent.Store(int64(len(b))/events + 2)
	if cap(b)-len(b) > len(b)/64 {
		b = bytes.Clone(b) // the guess was bad
	}
	for i, c := range chunks {
		all[i].bytes = b
		c.packed.Store(&all[i])
		c.events.Store(nil)
	}
}

// packed is where the encodings of a chunk's events are.
type packed struct {
	bytes []byte // these, and those of other chunks
	start uint32
	ends  [chunkSize]uint32 // where each ends
}

// add appends the encodings of a chunk to b.
func (p *packed) add(b []byte, events *[chunkSize]*Event) (_ []byte, err error) {
	p.start = uint32(len(b))
	for i, e := range events {
		if b, err = e.pack(b); err != nil {
			break
		}
		p.ends[i] = uint32(len(b))
	}
	return b, err
}

func (p *packed) encoding(i int) []byte {
	start := p.start
	if i > 0 {
		start = p.ends[i-1]
	}
	return p.bytes[start:p.ends[i]:p.ends[i]]
}

// copy fills block with events around the encodings from number i on, which nobody has
// read yet.
func (p *packed) copy(block []*Event, i int) int {
	events := make([]Event, min(len(block), chunkSize-i))
	for j := range events {
		e := &events[j]
		e.encoding, e.given, e.unread, e.packed = p.encoding(i+j), true, true, true
		block[j] = e
	}
	return len(events)
}

// stretch is some events in a row, in one chunk or several.
type stretch struct {
	chunk *chunk // the first of them is in this one
	from  uint64 // number of the first
	n     uint64
}

// copy copies the events to block, which has room for them.
func (s stretch) copy(block []*Event) int {
	block = block[:s.n]
	for len(block) > 0 {
		n := s.chunk.copy(block, int(s.from-s.chunk.first))
		block, s.from = block[n:], s.from+uint64(n)
		if len(block) > 0 {
			s.chunk = s.chunk.next
		}
	}
	return int(s.n)
}
