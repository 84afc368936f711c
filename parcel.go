package notifications

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/registry-notifications/notifications/internal/outbound"
)

var (
	envelopeHead  = []byte(`{"events":[`)
	envelopeComma = []byte(`,`)
	envelopeTail  = []byte(`]}`)
)

// parcel is an envelope ready to be sent: the encodings of its events where they are,
// and what stands between them.
type parcel struct {
	events int
	size   int // bytes
	pieces [][]byte
}

// newParcel puts as many events, from the front, into one envelope as maxEvents and
// maxBytes (zero: no limit) allow, and at least one: an event alone over the limit is
// the receiver's to judge.
func newParcel(events []*Event, maxEvents, maxBytes int) (*parcel, error) {
	p := &parcel{size: len(envelopeHead) + len(envelopeTail), pieces: append(make([][]byte, 0, 3), envelopeHead)}
	for p.events < min(len(events), maxEvents) {
		e, err := events[p.events].encoded()
		if err != nil && p.events > 0 {
			break // those before it go first
		}
		if err != nil {
			return nil, fmt.Errorf("notifications: event %q: %w", events[0].ID, err)
		}
		if p.events > 0 && maxBytes > 0 && p.size+1+len(e) > maxBytes {
			break
		}
		p.add(e)
	}
	p.pieces = append(p.pieces, envelopeTail)
	return p, nil
}

func (p *parcel) add(e []byte) {
	p.events++
	p.size += len(e)
	if p.events == 1 {
		p.pieces = append(p.pieces, e)
		return
	}
	p.size++
	if last := &p.pieces[len(p.pieces)-1]; follows(*last, e) {
		*last = (*last)[:len(*last)+1+len(e)]
		return
	}
	p.pieces = append(p.pieces, envelopeComma, e)
}

// follows says whether e stands in memory right behind piece and a comma, as packed
// events do.
func follows(piece, e []byte) bool {
	n := len(piece)
	if n+1 >= cap(piece) {
		return false
	}
	behind := piece[:n+2]
	return behind[n] == ',' && &behind[n+1] == &e[0]
}

// bytes returns the parcel in one piece.
func (p *parcel) bytes() []byte {
	if len(p.pieces) > 1 {
		b := make([]byte, 0, p.size)
		for _, piece := range p.pieces {
			b = append(b, piece...)
		}
		p.pieces = [][]byte{b}
	}
	return p.pieces[0]
}

// into makes the parcel the body of a request.
func (p *parcel) into(r *http.Request) {
	r.ContentLength = int64(p.size)
	r.Body = p.reader()
	// Without it the transport could not send again what a connection that was closed
	// while idle did not take.
	r.GetBody = func() (io.ReadCloser, error) { return p.reader(), nil }
}

// copied is up to what size a parcel is put together before it is sent: net/http sends
// a small body that it knows to be in memory together with the header.
const copied = 64 << 10

// reader returns a new reader of the parcel. A larger one is not put together: each piece
// is sent from where it is.
func (p *parcel) reader() io.ReadCloser {
	if p.size <= copied || len(p.pieces) == 1 {
		return io.NopCloser(bytes.NewReader(p.bytes()))
	}
	return &outbound.Pieces{Buffers: slices.Clone(p.pieces)}
}
