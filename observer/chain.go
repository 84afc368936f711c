package observer

import "sync"

// DepChain puts work into chains, one for each name: what is asked for later waits for what
// was asked for before. The zero value is ready. Its methods may be called at once from
// several goroutines.
type DepChain struct {
	mu   sync.Mutex // guards last
	last map[string]*Dep
}

// Dep is a link of a chain.
type Dep struct {
	// Wait is closed when the link in front is done. It is never nil.
	Wait <-chan struct{}
	done chan struct{}
	once sync.Once
}

var nothing = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Next puts a link at the end of a name's chain. Whoever gets it waits for Wait, works, and
// then calls Done.
func (c *DepChain) Next(name string) *Dep {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := &Dep{Wait: nothing, done: make(chan struct{})}
	if last := c.last[name]; last != nil {
		d.Wait = last.done
	}
	if c.last == nil {
		c.last = make(map[string]*Dep)
	}
	c.last[name] = d
	return d
}

// Done says that the link is done with. All but the first call do nothing.
func (d *Dep) Done() { d.once.Do(func() { close(d.done) }) }

// Gc forgets the chains in which nothing is left to wait for, and returns how many it has
// kept.
func (c *DepChain) Gc() (kept int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, d := range c.last {
		if isClosed(d.done) {
			delete(c.last, name)
		}
	}
	return len(c.last)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
