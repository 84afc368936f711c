package outbound

import (
	"context"
	"io"
	"net"
)

// Pieces is the body of a request, in pieces. On a connection without TLS they go to
// the system from where they are (writev, POSIX); anywhere else they are read.
type Pieces struct{ net.Buffers }

// Close does nothing.
func (*Pieces) Close() error { return nil }

// size returns how many bytes are left.
func (p *Pieces) size() (n int64) {
	for _, piece := range p.Buffers {
		n += int64(len(piece))
	}
	return n
}

// conn is a TCP connection that knows Pieces.
type conn struct{ *net.TCPConn }

// ReadFrom is called by the transport with a body and a limit to it.
func (c conn) ReadFrom(r io.Reader) (int64, error) {
	if l, ok := r.(*io.LimitedReader); ok {
		if p, ok := l.R.(*Pieces); ok && p.size() <= l.N {
			n, err := p.Buffers.WriteTo(c.TCPConn)
			l.N -= n
			return n, err
		}
	}
	return c.TCPConn.ReadFrom(r)
}

// dial makes a dialer's connections such that they know Pieces.
func dial(d *net.Dialer) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, address)
		if tcp, ok := c.(*net.TCPConn); ok {
			return conn{tcp}, err
		}
		return c, err
	}
}
