package faults

import (
	"context"
	"flag"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

var long = flag.Bool("long", false, "more events, more positions, tighter limits")

// TestMain takes away what the environment says of proxies, and puts a name server
// of the tests' own in place of the system's, for there is no other way to have the
// real endpoint meet a name that fails, or changes.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		os.Unsetenv(name)
		os.Unsetenv(strings.ToLower(name))
	}
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		names := currentNames.Load()
		if names == nil {
			return nil, net.UnknownNetworkError("no name server in this test")
		}
		return new(net.Dialer).DialContext(ctx, "udp", names.conn.LocalAddr().String())
	}}
	goleak.VerifyTestMain(m)
}

// currentNames answers for the resolver of the process.
var currentNames atomic.Pointer[nameServer]

// nameServer answers every question for an IPv4 address with the one it is told. There
// are no IPv6 addresses. Without an address, there is no such name.
type nameServer struct {
	conn net.PacketConn
	addr atomic.Pointer[net.IP]
	done chan struct{}
}

func newNameServer() (*nameServer, error) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &nameServer{conn: conn, done: make(chan struct{})}
	go s.serve()
	currentNames.Store(s)
	return s, nil
}

func (s *nameServer) close() {
	currentNames.Store(nil)
	s.conn.Close()
	<-s.done
}

// set is the answer from now on; "" means that there is no such name.
func (s *nameServer) set(addr string) {
	ip := net.ParseIP(addr).To4()
	s.addr.Store(&ip)
}

func (s *nameServer) serve() {
	defer close(s.done)
	buf := make([]byte, 4096)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if answer := s.answer(buf[:n]); answer != nil {
			_, _ = s.conn.WriteTo(answer, from)
		}
	}
}

// answer makes a message of RFC 1035, 4.1: the header, the question as it came, and
// perhaps an A record, which refers to the name in the question.
func (s *nameServer) answer(query []byte) []byte {
	end := 12
	for end < len(query) && query[end] != 0 {
		end += int(query[end]) + 1
	}
	end += 5 // the root label, type, class
	if end > len(query) {
		return nil
	}
	const noSuchName = 3
	head := []byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}
	ip := s.addr.Load()
	known := ip != nil && *ip != nil
	a := query[end-3] == 1
	if !known {
		head[3] |= noSuchName
	} else if a {
		head[7] = 1
	}
	out := append(head, query[12:end]...)
	if known && a {
		out = append(out, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		out = append(out, *ip...)
	}
	return out
}
