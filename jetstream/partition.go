package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sirupsen/logrus"
)

// partition is one piece of a sink's work, while this instance has the lease of it. Its fields
// behind the empty line are guarded by its cursor's lock.
//
// The engine has a durable consumer for it, which knows what is settled: the acknowledgement of
// a message is one of all in front of it. What is not settled is kept here, retried in place,
// and never given back one by one, which would bring newer messages first. Whenever what comes
// may not be what comes next (a new lease, a new leader, a delivery that is missing, a
// connection that was away) the consumer is reset to what is settled.
type partition struct {
	cursor   *cursor
	number   int
	consumer jetstream.Consumer
	name     string // of the consumer
	lease    *lease
	ctx      context.Context // ends with the lease
	cancel   context.CancelFunc
	stopped  chan struct{} // closed when nothing more is fetched
	expire   *time.Timer   // ends the lease if nothing has renewed it
	acks     chan struct{} // one is due
	acking   sync.Mutex    // held while one is sent, and while the consumer is reset

	giving  time.Time  // since when it is to be given back, which it is when its cursor has settled what it has
	settled uint64     // position in the stream
	handed  uint64     // position up to which its cursor has it
	hand    []delivery // of that, what is not settled
	ready   []delivery // and what it has not
	bytes   int        // of what is ready
	alien   delivery   // the last message that is no event, if it was not passed over
	behind  uint64     // how many more the stream has
	known   bool       // that was asked behind a reset
	due     delivery   // the one to acknowledge, if that was not done
	checked uint64     // position up to which it was settled a lease ago
	uneven  bool       // the consumer does not count what is acknowledged
	waits   bool       // for room
	tries   tries      // at what is in the hand
	room    chan struct{}
}

// delivery is one message.
type delivery struct {
	position uint64 // in the stream
	message  jetstream.Msg
	stale    bool // the consumer was reset since: its acknowledgement would count wrongly
}

// How much is fetched at once, at most and at first, and how much is read ahead, besides:
// messages of each partition, and bytes of all of a sink's. A limit of bytes cannot be given to
// the client, which counts them in another way than the servers, and loses what is between.
const (
	fetchSize  = 1024
	firstSize  = 64
	ahead      = 1024
	aheadBytes = 32 << 20
)

// budget returns how many bytes a partition may have ready before it waits, and fetch at once:
// what all of them have, but room for two messages that are as large as they may be.
func (p *partition) budget() int {
	p.cursor.mu.Lock()
	defer p.cursor.mu.Unlock()
	return max(aheadBytes/max(1, len(p.cursor.partitions)), int(2*p.cursor.log.publisher.sender.payload.Load()))
}

// fetch takes what comes, until the lease ends.
func (p *partition) fetch() {
	defer close(p.stopped)
	defer p.works()
	var acks sync.WaitGroup
	acks.Go(p.sendAcks)
	defer acks.Wait()
	log := p.logger()
	failures := 0
	for p.ctx.Err() == nil {
		came, err := p.follow()
		if came {
			failures = 0
		}
		if p.ctx.Err() != nil {
			return
		}
		p.cursor.reading.failed(log, p.number, err, "jetstream: reading failed; it goes on behind what is settled")
		sleep(p.ctx, delay(failures))
		failures++
	}
}

// works says that nothing is wrong with it any more.
func (p *partition) works() {
	p.cursor.reading.over(p.logger(), p.number, "jetstream: reading works again")
}

func (p *partition) logger() *logrus.Entry {
	return p.cursor.log.config.Logger.WithField("sink", p.cursor.name)
}

// follow has everything behind what is settled come once more, and takes what it does not
// have, until that may not be what comes next.
func (p *partition) follow() (came bool, err error) {
	if err := p.reset(); err != nil {
		return false, err
	}
	var last uint64   // delivery, which the consumer counts
	most := firstSize // how many to fetch
	for {
		if !p.waitForRoom() {
			return came, p.ctx.Err()
		}
		beat := min(p.cursor.log.config.Timeout, p.cursor.log.config.Lease/2)
		ctx, cancel := context.WithTimeout(p.ctx, 4*beat)
		batch, err := p.consumer.Fetch(most, jetstream.FetchContext(ctx), jetstream.FetchHeartbeat(beat))
		if err == nil {
			n, bytes := 0, 1
			for m := range batch.Messages() {
				n, bytes = n+1, bytes+len(m.Data())
				if err == nil {
					last, err = p.take(m, last)
				}
				if err != nil {
					cancel()
				}
			}
			err = errors.Join(err, batch.Error())
			if n > 0 { // those to come are like them
				most = max(1, min(fetchSize, n*p.budget()/bytes))
			}
		}
		cancel()
		if err != nil && !isEndOfFetch(err) {
			return came, err
		}
		came = true
		p.works()
		if p.isUneven() {
			return came, errUneven
		}
	}
}

// isEndOfFetch says whether no more comes because there is no more.
func isEndOfFetch(err error) bool {
	return errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded)
}

// errUneven is of a consumer that does not count what is acknowledged: an acknowledgement from
// before a reset, which came behind it, has told of deliveries that were none.
var errUneven = errors.New("the consumer does not count acknowledgements")

func (p *partition) isUneven() bool {
	p.cursor.mu.Lock()
	defer p.cursor.mu.Unlock()
	return p.uneven
}

// check looks, once for each lease, whether the consumer has counted what was settled a lease
// ago.
func (p *partition) check(ctx context.Context) {
	info, err := p.consumer.Info(ctx)
	if err != nil {
		return // it is asked again
	}
	p.cursor.mu.Lock()
	defer p.cursor.mu.Unlock()
	p.uneven = info.AckFloor.Stream < p.checked
	p.checked = p.settled
}

// reset has the consumer begin behind what was acknowledged, as far as it knows.
func (p *partition) reset() error {
	p.acking.Lock()
	defer p.acking.Unlock()
	ctx, cancel := context.WithTimeout(p.ctx, p.cursor.log.config.Timeout)
	defer cancel()
	p.cursor.mu.Lock()
	p.behind += uint64(len(p.ready))
	p.ready, p.bytes, p.alien = nil, 0, delivery{}
	for i := range p.hand {
		p.hand[i].stale = true
	}
	p.due, p.uneven, p.checked = delivery{}, false, 0
	p.cursor.mu.Unlock()
	if _, err := p.cursor.log.stream.ResetConsumer(ctx, p.name); err != nil {
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			err = errors.Join(errRemoved, err)
		}
		return fmt.Errorf("resetting the consumer: %w", err)
	}
	return p.countExpired(ctx)
}

// countExpired looks, behind a reset, for how many of those that it has not fetched there are
// no more. What was too old before this instance had the partition is not known.
func (p *partition) countExpired(ctx context.Context) error {
	info, err := p.consumer.Info(ctx)
	if err != nil {
		return fmt.Errorf("asking for the consumer: %w", err)
	}
	p.cursor.mu.Lock()
	known, handed := p.known, p.handed
	if p.known = true; !known {
		p.behind = info.NumPending
	}
	p.cursor.mu.Unlock()
	if !known || p.cursor.log.config.MaxAge == 0 {
		return nil
	}
	state, err := p.cursor.log.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("asking for the stream: %w", err)
	}
	p.cursor.mu.Lock()
	defer p.cursor.mu.Unlock()
	if state.State.FirstSeq > handed+1 && handed == p.handed { // or all that is gone was fetched
		p.has(info.NumPending)
	}
	return nil
}

// has counts as expired what there is less than was known, and was not fetched. The caller
// holds the cursor's lock.
func (p *partition) has(behind uint64) {
	if gone := p.behind - min(behind, p.behind); gone > 0 && p.cursor.log.config.MaxAge > 0 {
		p.cursor.expired += gone
		p.logger().WithField("partition", p.number).WithField("events", gone).Warn("jetstream: events were older than maxage before they were delivered, and are lost")
	}
	p.behind = behind
}

// errMissing is of a delivery that has not come.
var errMissing = errors.New("a delivery is missing")

// take takes a message, and returns which delivery it was.
func (p *partition) take(m jetstream.Msg, last uint64) (uint64, error) {
	meta, err := m.Metadata()
	if err != nil {
		return last, err
	}
	if meta.Sequence.Consumer != last+1 {
		return last, errMissing
	}
	c, position := p.cursor, meta.Sequence.Stream
	ours := isEvent(m.Headers(), m.Data())
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case position <= p.settled:
		p.acknowledge(position, m) // whose first one was lost; if this is, it comes again
	case position <= p.handed:
		i := sort.Search(len(p.hand), func(i int) bool { return p.hand[i].position >= position })
		if i < len(p.hand) && p.hand[i].position == position {
			p.hand[i] = delivery{position: position, message: m} // the one to acknowledge
		}
	case len(p.ready) > 0 && position <= p.ready[len(p.ready)-1].position: // once more
		i := sort.Search(len(p.ready), func(i int) bool { return p.ready[i].position >= position })
		if p.ready[i].position == position {
			p.ready[i] = delivery{position: position, message: m}
		}
	case !ours:
		p.behind = meta.NumPending
		p.alien = delivery{position: position, message: m}
		p.passAlien()
		p.logger().WithField("partition", p.number).WithField("position", position).Warn("jetstream: somebody else's message is passed over: it is no event")
	default:
		p.behind = meta.NumPending
		p.ready = append(p.ready, delivery{position: position, message: m})
		p.bytes += len(m.Data())
		c.wake()
	}
	return meta.Sequence.Consumer, nil
}

// isEvent says whether a message may be one of this package's. Whoever may publish on the
// subjects can put something else there, which no sink should have to make sense of.
func isEvent(header nats.Header, data []byte) bool {
	_, ours := header[repositoryHeader]
	return ours && len(data) > 0 && data[0] == '{' && json.Valid(data)
}

// waitForRoom returns false if there will be none.
func (p *partition) waitForRoom() bool {
	budget := p.budget()
	for {
		p.cursor.mu.Lock()
		p.waits = len(p.ready) >= ahead || p.bytes >= budget
		waits := p.waits
		p.cursor.mu.Unlock()
		if !waits {
			return p.ctx.Err() == nil
		}
		select {
		case <-p.room:
		case <-p.ctx.Done():
			return false
		}
	}
}

// settle moves it past a position. The caller holds the cursor's lock.
func (p *partition) settle(position uint64) {
	n := sort.Search(len(p.hand), func(i int) bool { return p.hand[i].position > position })
	if n == 0 {
		return
	}
	last := p.hand[n-1]
	p.settled = last.position
	p.hand = p.hand[n:]
	p.tries.settle(p.settled)
	defer p.passAlien()
	if !last.stale && p.ctx.Err() == nil {
		p.acknowledge(last.position, last.message) // if that is lost, the message comes again, and is acknowledged then
	}
}

// passAlien settles a message that is no event when everything in front of it is settled. The
// caller holds the cursor's lock.
func (p *partition) passAlien() {
	if p.alien.message == nil || len(p.hand)+len(p.ready) > 0 || p.alien.position <= p.settled {
		return
	}
	p.settled, p.handed = p.alien.position, p.alien.position
	if p.ctx.Err() == nil {
		p.acknowledge(p.alien.position, p.alien.message)
	}
	p.alien = delivery{}
}

// acknowledge has a message acknowledged, and all in front of it. The client may keep whoever
// calls it while it connects: so it is not done here. The caller holds the cursor's lock.
func (p *partition) acknowledge(position uint64, m jetstream.Msg) {
	if p.due.message != nil && p.due.position > position {
		return // that one says so of this, too
	}
	p.due = delivery{position: position, message: m}
	select {
	case p.acks <- struct{}{}:
	default:
	}
}

// sendAcks sends acknowledgements until the lease ends.
func (p *partition) sendAcks() {
	for {
		select {
		case <-p.acks:
			p.sendAck()
		case <-p.ctx.Done():
			return
		}
	}
}

// sendAck sends the one that is due.
func (p *partition) sendAck() {
	p.acking.Lock()
	defer p.acking.Unlock()
	p.cursor.mu.Lock()
	due := p.due
	p.due = delivery{}
	p.cursor.mu.Unlock()
	if due.message != nil && p.ctx.Err() == nil {
		_ = due.message.Ack()
	}
}

// extend tells the servers that it still works on what it has.
func (p *partition) extend() {
	p.cursor.mu.Lock()
	all := append(append([]delivery(nil), p.hand...), p.ready...)
	p.cursor.mu.Unlock()
	for _, d := range all {
		_ = d.message.InProgress() // or it comes again, and is recognised
	}
}

// measure asks how much more there is while nothing is fetched, which would say so.
func (p *partition) measure(ctx context.Context) {
	read, waits := p.isWaiting()
	if !waits {
		return
	}
	info, err := p.consumer.Info(ctx)
	if err != nil {
		return // it is asked again
	}
	p.cursor.mu.Lock()
	defer p.cursor.mu.Unlock()
	if p.waits && len(p.ready) > 0 && p.ready[len(p.ready)-1].position == read {
		p.has(info.NumPending)
	}
}

// isWaiting says whether it has enough, up to a position, and asks for nothing. Then nothing
// comes once more, either.
func (p *partition) isWaiting() (read uint64, waits bool) {
	p.cursor.mu.Lock()
	defer p.cursor.mu.Unlock()
	if !p.waits || len(p.ready) == 0 {
		return 0, false
	}
	return p.ready[len(p.ready)-1].position, true
}

// ackWait is after how long without a sign of work the servers send a message again.
func (c *Config) ackWait() time.Duration { return 3 * c.Lease }

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
