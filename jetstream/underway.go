package jetstream

import "sync"

// underWay are blocks that are being stored.
type underWay struct {
	*publisher

	mu     sync.Mutex // guards the rest
	blocks []*block   // that are not done with
	stored int        // messages
	over   bool       // nobody asks any more
}

// progress says how many messages are stored by now.
func (u *underWay) progress(stored int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for len(u.blocks) > 0 && u.stored < stored && !u.over {
		b := u.blocks[0]
		n := min(stored-u.stored, len(b.messages))
		b.messages, b.events = b.messages[n:], b.events[n:]
		b.left.Add(-int64(n))
		if u.stored += n; len(b.messages) > 0 {
			break
		}
		u.finish(b, nil)
		u.blocks = u.blocks[1:]
	}
}

// end returns what is not done with. A call that does not come back changes nothing any more.
func (u *underWay) end() []*block {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.over = true
	return u.blocks
}
