package clustertest

import (
	"net"
	"sync"
	"time"
)

// link is one connection through a proxy.
type link struct {
	proxy *Proxy
	ends  [2]net.Conn
	once  sync.Once
	gone  chan struct{} // closed when it has ended
}

// run passes on what comes, until one side has ended it and the other knows.
func (l *link) run() {
	var all sync.WaitGroup
	for i := range l.ends {
		// A reader of its own, or what is delayed would be slow, too.
		pieces := make(chan piece, 1024)
		all.Go(func() { l.read(l.ends[i], pieces) })
		all.Go(func() { l.write(l.ends[1-i], pieces) })
	}
	all.Wait()
}

// piece is what was read at once, and when it is to arrive.
type piece struct {
	data []byte
	due  time.Time
}

func (l *link) read(from net.Conn, pieces chan<- piece) {
	defer close(pieces)
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			select {
			case pieces <- piece{append([]byte(nil), buf[:n]...), time.Now().Add(l.proxy.way())}:
			case <-l.gone:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (l *link) write(to net.Conn, pieces <-chan piece) {
	defer l.end()
	for p := range pieces {
		if !l.wait(p.due) {
			return
		}
		if _, err := to.Write(p.data); err != nil {
			return
		}
	}
	l.wait(time.Now().Add(l.proxy.way())) // the end of a connection does not get through a hole, either
}

// wait returns false if the link has ended before it can let something through.
func (l *link) wait(due time.Time) bool {
	t := time.NewTimer(time.Until(due))
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.gone:
		return false
	}
	select {
	case <-l.proxy.passable():
		return true
	case <-l.gone:
		return false
	}
}

// end closes both sides.
func (l *link) end() {
	l.once.Do(func() {
		close(l.gone)
		for _, conn := range l.ends {
			_ = conn.Close()
		}
	})
}

// reset has both sides see an error.
func (l *link) reset() {
	for _, conn := range l.ends {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	}
	l.end()
}
