package clustertest

import (
	"net"
	"sync"
	"time"
)

// Proxy passes connections on to an address, until it is cut. Its methods may be called at
// once from several goroutines.
type Proxy struct {
	listener net.Listener
	to       string

	mu    sync.Mutex // guards the rest
	cut   bool
	delay time.Duration
	open  chan struct{} // closed unless it is a hole
	links map[*link]struct{}
	all   sync.WaitGroup
}

// NewProxy listens on loopback.
func NewProxy(to string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, to: to, open: make(chan struct{}), links: make(map[*link]struct{})}
	close(p.open)
	p.all.Go(p.accept)
	return p, nil
}

// Addr returns where it listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Cut resets all connections and takes no more, or takes them again.
func (p *Proxy) Cut(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	if !cut {
		return
	}
	for l := range p.links {
		l.reset()
	}
}

// Hole lets nothing through, in both directions and without a word to either side, as a
// firewall does that drops, or lets it through again. What was sent meanwhile then comes late,
// as TCP sends it again, and so does the end of a connection that was closed meanwhile.
func (p *Proxy) Hole(hole bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
		if hole {
			p.open = make(chan struct{})
		}
	default:
		if !hole {
			close(p.open)
		}
	}
}

// Delay has everything that comes from now on be on its way for so long, in each direction.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Close ends it.
func (p *Proxy) Close() {
	_ = p.listener.Close()
	p.Cut(true)
	p.all.Wait()
}

func (p *Proxy) accept() {
	for {
		from, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.all.Go(func() { p.pass(from) })
	}
}

func (p *Proxy) pass(from net.Conn) {
	to, err := net.Dial("tcp", p.to)
	if err != nil {
		_ = from.Close()
		return
	}
	l := &link{proxy: p, ends: [2]net.Conn{from, to}, gone: make(chan struct{})}
	if !p.keep(l) {
		l.reset()
		return
	}
	l.run()
	p.drop(l)
}

func (p *Proxy) keep(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		return false
	}
	p.links[l] = struct{}{}
	return true
}

func (p *Proxy) drop(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// way returns how long what comes now is on its way.
func (p *Proxy) way() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.delay
}

// passable returns what is closed when it is no hole.
func (p *Proxy) passable() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}
