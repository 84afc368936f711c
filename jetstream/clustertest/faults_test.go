package clustertest

import (
	"errors"
	"fmt"
	"time"
)

// fault is something that fails, for a while. Its strike returns when it is over, and whose
// acknowledgements it can have lost.
type fault struct {
	name      string
	ofServers bool
	strike    func(*chaos) ([]*worker, error)
}

var faults = []fault{
	{"leader", true, func(c *chaos) ([]*worker, error) { return c.kill(c.cluster.Leader) }},
	{"follower", true, func(c *chaos) ([]*worker, error) { return c.kill(c.cluster.Follower) }},
	{"leader is isolated", true, (*chaos).isolateLeader},
	{"step down", true, (*chaos).stepDown},
	{"worker", false, (*chaos).killWorker},
	{"worker leaves", false, (*chaos).leave},
	{"worker in a hole", false, (*chaos).holeWorker},
	{"worker is slow", false, (*chaos).slowWorker},
	{"worker is far", false, (*chaos).delayWorker},
	{"publisher is cut off", false, (*chaos).cutPublisher},
	{"publisher in a hole", false, (*chaos).holePublisher},
	{"publisher is far", false, (*chaos).delayPublisher},
	{"publisher restarts", false, (*chaos).restartPublisher},
}

// kill ends a server without a good-bye, and starts it again when it is not missed any more.
func (c *chaos) kill(which func(string) int) ([]*worker, error) {
	i, err := c.server(which)
	if err != nil {
		return nil, err
	}
	c.cluster.Kill(i)
	err = c.goesOn("a server is dead")
	return c.everyone(), errors.Join(err, c.cluster.Restart(i), c.cluster.Wait())
}

// server returns which server it is, when the last election is over.
func (c *chaos) server(which func(stream string) int) (i int, err error) {
	err = c.wait(func() bool { i = which(c.config.Stream); return i >= 0 }, "there is no leader")
	return i, err
}

// isolateLeader cuts the leader off from the other servers. It and its clients go on, and do
// not know.
func (c *chaos) isolateLeader() ([]*worker, error) {
	i, err := c.server(c.cluster.Leader)
	if err != nil {
		return nil, err
	}
	c.cluster.Isolate(i, true)
	time.Sleep(8 * time.Second)
	c.cluster.Isolate(i, false)
	return c.everyone(), errors.Join(c.goesOn("the leader was isolated"), c.cluster.Wait())
}

// stepDown has the stream elect another leader.
func (c *chaos) stepDown() ([]*worker, error) {
	if _, err := c.server(c.cluster.Leader); err != nil {
		return nil, err
	}
	if err := c.cluster.StepDown(c.config.Stream); err != nil {
		return nil, err
	}
	return c.everyone(), c.goesOn("the leader has stepped down")
}

// killWorker has a worker's connection end between a delivery and its acknowledgement. It is
// never heard of again, and another one comes.
func (c *chaos) killWorker() ([]*worker, error) {
	w := c.some()
	w.strike.Store(new(struct{}))
	select {
	case <-w.dead:
	case <-time.After(time.Minute):
		return nil, fmt.Errorf("%s delivers nothing", w)
	}
	err := c.bear()
	c.abandon(w)
	return []*worker{w}, errors.Join(err, c.goesOn("%s is dead", w))
}

// leave has a worker end as it should, when another has come. Nothing comes twice.
func (c *chaos) leave() ([]*worker, error) {
	err := c.bear()
	w := c.some()
	c.abandon(w)
	return nil, errors.Join(err, c.goesOn("%s has left", w))
}

// holeWorker silences a worker for longer than its leases last.
func (c *chaos) holeWorker() ([]*worker, error) {
	w := c.some()
	w.links.hole(true)
	time.Sleep(c.config.Lease * 3 / 2)
	w.links.hole(false)
	return []*worker{w}, c.goesOn("%s was silent", w)
}

// slowWorker has a sink take longer for a block than a lease lasts.
func (c *chaos) slowWorker() ([]*worker, error) {
	w := c.some()
	w.pause.Store(int64(c.config.Lease * 3 / 2))
	time.Sleep(c.config.Lease * 2)
	w.pause.Store(int64(pauseOfSink))
	return nil, nil
}

func (c *chaos) delayWorker() ([]*worker, error) {
	w := c.some()
	w.links.delay(50 * time.Millisecond)
	time.Sleep(c.config.Lease)
	w.links.delay(0)
	return nil, nil
}

// cutPublisher cuts a publisher off. What it cannot write is written later.
func (c *chaos) cutPublisher() ([]*worker, error) {
	p := c.someone()
	p.links.cut(true)
	var err error
	if p.spills() {
		err = c.writes(p) // to its disk
	}
	time.Sleep(5 * time.Second)
	p.links.cut(false)
	return nil, errors.Join(err, c.writes(p))
}

func (c *chaos) holePublisher() ([]*worker, error) {
	p := c.someone()
	p.links.hole(true)
	time.Sleep(4 * time.Second)
	p.links.hole(false)
	return nil, c.writes(p)
}

func (c *chaos) delayPublisher() ([]*worker, error) {
	p := c.someone()
	p.links.delay(50 * time.Millisecond)
	time.Sleep(c.config.Lease)
	p.links.delay(0)
	return nil, c.writes(p)
}

// restartPublisher ends a publisher that cannot reach the cluster, and starts it again, with
// what its spill has.
func (c *chaos) restartPublisher() ([]*worker, error) {
	p := c.someone()
	p.links.cut(true)
	time.Sleep(time.Second)
	c.close(p.name, p.hub.Load())
	p.links.cut(false)
	return nil, errors.Join(c.start(p), c.writes(p))
}

// goesOn waits until events are delivered again.
func (c *chaos) goesOn(why string, args ...any) error {
	_, before := c.ledger.count()
	return c.wait(func() bool { _, now := c.ledger.count(); return now >= before+100 }, "nothing is delivered since "+fmt.Sprintf(why, args...))
}

// writes waits until a publisher writes again.
func (c *chaos) writes(p *publisher) error {
	before := p.written.Load()
	return c.wait(func() bool { return p.written.Load() >= before+50 }, p.name+" writes no more")
}

func (c *chaos) wait(ok func() bool, otherwise string) error {
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return errors.New(otherwise)
		}
	}
	return nil
}
