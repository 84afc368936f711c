package jetstream

import (
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// doubts are messages that may be under way, though nobody has heard of them: those of batches
// that have failed, until each was sent again and proved.
type doubts struct {
	any bool // nobody knows which
	ids map[string]struct{}
}

// mostDoubts is how many are known one by one.
const mostDoubts = 1 << 16

func (d *doubts) add(messages []*nats.Msg) {
	if d.ids == nil {
		d.ids = make(map[string]struct{})
	}
	for _, m := range messages {
		d.ids[m.Header.Get(jetstream.MsgIDHeader)] = struct{}{}
	}
	if len(d.ids) > mostDoubts {
		d.any, d.ids = true, nil
	}
}

func (d *doubts) has(messages []*nats.Msg) bool { return d.last(messages) >= 0 }

// last returns which is the last of these messages that is in doubt, or -1.
func (d *doubts) last(messages []*nats.Msg) int {
	if d.any {
		return len(messages) - 1
	}
	for i := len(messages) - 1; i >= 0 && len(d.ids) > 0; i-- {
		if _, ok := d.ids[messages[i].Header.Get(jetstream.MsgIDHeader)]; ok {
			return i
		}
	}
	return -1
}

// remove is for messages of which the last in doubt was proved.
func (d *doubts) remove(messages []*nats.Msg) {
	if len(messages) == 0 {
		return
	}
	d.any = false
	for _, m := range messages {
		if len(d.ids) == 0 {
			return
		}
		delete(d.ids, m.Header.Get(jetstream.MsgIDHeader))
	}
}
