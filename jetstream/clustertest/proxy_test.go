package clustertest

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// echo starts a server that sends back what it gets, with a proxy in front.
func echo(t *testing.T) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	p, err := NewProxy(l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func say(t *testing.T, conn net.Conn, word string) {
	t.Helper()
	_, err := conn.Write([]byte(word))
	require.NoError(t, err)
}

func hear(t *testing.T, conn net.Conn, word string) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	buf := make([]byte, len(word))
	_, err := io.ReadFull(conn, buf)
	require.NoError(t, err)
	assert.Equal(t, word, string(buf))
}

// TestProxyCut: both sides see an error, and nobody gets through until it is mended.
func TestProxyCut(t *testing.T) {
	p := echo(t)
	conn := dial(t, p)
	say(t, conn, "one")
	hear(t, conn, "one")
	p.Cut(true)
	_, err := conn.Read(make([]byte, 1))
	require.Error(t, err)
	if refused, err := net.Dial("tcp", p.Addr()); err == nil { // or it is reset at once
		t.Cleanup(func() { _ = refused.Close() })
		_, err = refused.Read(make([]byte, 1))
		require.Error(t, err)
	}
	p.Cut(false)
	conn = dial(t, p)
	say(t, conn, "two")
	hear(t, conn, "two")
}

// TestProxyHole: nothing comes and nothing fails, and later all of it comes.
func TestProxyHole(t *testing.T) {
	p := echo(t)
	conn := dial(t, p)
	say(t, conn, "one")
	hear(t, conn, "one")
	p.Hole(true)
	p.Hole(true)
	say(t, conn, "two")
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err := conn.Read(make([]byte, 1))
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	assert.True(t, timeout.Timeout(), "silence, and no error: %v", err)
	p.Hole(false)
	p.Hole(false)
	hear(t, conn, "two")

	p.Hole(true)
	say(t, conn, "three")
	p.Cut(true) // ends a hole's connections, too
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err)
	assert.False(t, errors.As(err, &timeout) && timeout.Timeout(), "%v", err)
}

// TestProxyDelay: each direction takes its time, and many are on their way at once.
func TestProxyDelay(t *testing.T) {
	p := echo(t)
	conn := dial(t, p)
	const way, words = 20 * time.Millisecond, 50
	p.Delay(way)
	start := time.Now()
	for range words {
		say(t, conn, "word")
		time.Sleep(time.Millisecond) // or they would be one
	}
	for range words {
		hear(t, conn, "word")
	}
	assert.GreaterOrEqual(t, time.Since(start), 2*way)
	p.Delay(0)
	say(t, conn, "last")
	hear(t, conn, "last")
}
