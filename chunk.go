package notifications

import (
	"bytes"
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

// packBytes is how large a piece of memory gets to which chunks are packed, and then
// what is in the last chunk.
const packBytes = 1 << 20

// pack packs chunks, which are full.
func (p *packer) pack(chunks []*chunk) {
	for len(chunks) > 0 {
		n := p.packTogether(chunks)
		chunks = chunks[n:]
	}
}

// packTogether packs chunks into one piece of memory, and returns how many.
func (p *packer) packTogether(chunks []*chunk) (n int) {
	guess := p.perEvent.Load() * chunkSize * int64(len(chunks))
	b := make([]byte, 0, min(guess, packBytes+packBytes/16))
	all := make([]packed, len(chunks))
	for ; n < len(chunks) && len(b) < packBytes; n++ {
		more, err := all[n].add(b, chunks[n].events.Load())
		if err != nil || uint64(len(more)) > 1<<32-1 {
			break
		}
		b = more
	}
	if n == 0 {
		return 1 // what cannot be packed stays as it is
	}
	p.perEvent.Store(int64(len(b))/int64(n*chunkSize) + 2)
	if cap(b)-len(b) > len(b)/64 {
		b = bytes.Clone(b) // the guess was bad
	}
	for i, c := range chunks[:n] {
		all[i].bytes = b
		c.packed.Store(&all[i])
		c.events.Store(nil)
	}
	return n
}

// packed is where the encodings of a chunk's events are: one behind the other with a
// comma between, as in an envelope.
type packed struct {
	bytes []byte // these, and those of other chunks
	start uint32
	ends  [chunkSize]uint32 // where each ends, and its comma is
}

// add appends the encodings of a chunk to b.
func (p *packed) add(b []byte, events *[chunkSize]*Event) (_ []byte, err error) {
	p.start = uint32(len(b))
	for i, e := range events {
		if b, err = e.AppendJSON(b); err != nil {
			break
		}
		p.ends[i] = uint32(len(b))
		b = append(b, ',')
	}
	return b, err
}

func (p *packed) encoding(i int) []byte {
	start := p.start
	if i > 0 {
		start = p.ends[i-1] + 1
	}
	return p.bytes[start:p.ends[i]]
}

// copy fills block with events around the encodings from number i on, which nobody has
// read yet.
func (p *packed) copy(block []*Event, i int) int {
	events := make([]Event, min(len(block), chunkSize-i))
	for j := range events {
		block[j] = events[j].keptAs(p.encoding(i + j))
	}
	return len(events)
}

// stretch is some events in a row, in one chunk or several.
type stretch struct {
	chunk *chunk // the first of them is in this one
	from  uint64 // number of the first
	n     uint64
}

// own returns a stretch that keeps no more of the chain than it covers. The caller holds
// the log's lock.
func (s stretch) own() stretch {
	end, to := s.from+s.n, &s.chunk
	for c := s.chunk; c != nil && c.first < end; c = c.next {
		own := &chunk{first: c.first}
		own.events.Store(c.events.Load())
		own.packed.Store(c.packed.Load()) // which is there where the events are not any more
		*to, to = own, &own.next
	}
	return s
}

// take takes a stretch of at most that many events from the front.
func (s *stretch) take(most uint64) stretch {
	front := stretch{s.chunk, s.from, min(most, s.n)}
	s.from, s.n = s.from+front.n, s.n-front.n
	// At the very end of a chunk there may be no next one yet.
	for end := s.chunk.first + chunkSize; s.from > end || s.from == end && s.n > 0; end += chunkSize {
		s.chunk = s.chunk.next
	}
	return front
}

// copy copies the events to block, which has room for them.
func (s stretch) copy(block []*Event) int {
	block = block[:s.n]
	c, i := s.chunk, int(s.from-s.chunk.first)
	for len(block) > 0 {
		if i == chunkSize { // not before: the last chunk's next is the log's
			c, i = c.next, 0
		}
		n := c.copy(block, i)
		block, i = block[n:], i+n
	}
	return int(s.n)
}
