package clustertest

import (
	"fmt"
	"slices"

	"github.com/stretchr/testify/assert"

	"github.com/registry-notifications/notifications/sinktest"
)

// bear adds a worker.
func (c *chaos) bear() error {
	c.mu.Lock()
	c.born++
	w := &worker{name: fmt.Sprint("worker", c.born), ledger: c.ledger, dead: make(chan struct{})}
	c.mu.Unlock()
	w.pause.Store(int64(pauseOfSink))
	var err error
	if w.links, err = newLinks(c.cluster); err != nil {
		return err
	}
	c.t.Cleanup(w.links.close)
	config := c.config
	config.Instance, config.Logger = w.name, c.log.of(w.name)
	if err := c.succeed(func() (err error) { w.hub, err = c.open(w.links, config); return err }); err != nil {
		return err
	}
	c.t.Cleanup(func() { c.bury(w) })
	if err := c.succeed(func() error { return w.hub.Add("sink", w) }); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.workers, c.ever = append(c.workers, w), append(c.ever, w)
	return nil
}

// bury closes a worker's hub. A second time does nothing.
func (c *chaos) bury(w *worker) {
	assert.NoError(c.t, sinktest.Conserved(w.hub.Metrics()["sink"]), w.name)
	c.close(w.name, w.hub)
}

// alive returns the workers that were not abandoned.
func (c *chaos) alive() []*worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.workers)
}

// everyone returns all workers that there ever were.
func (c *chaos) everyone() []*worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.ever)
}

// some returns one of the workers.
func (c *chaos) some() *worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.workers[c.random.IntN(len(c.workers))]
}

// someone returns one of the publishers.
func (c *chaos) someone() *publisher {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.publishers[c.random.IntN(len(c.publishers))]
}

// abandon drops a worker, whose hub is closed while others go on.
func (c *chaos) abandon(w *worker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.workers = slices.DeleteFunc(c.workers, func(other *worker) bool { return other == w })
	c.ends.Go(func() { c.bury(w) })
}
