package faults

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications"
)

// fault is a line of the table: how a receiver misbehaves, and what that needs.
type fault struct {
	name string
	behaviour
	strikes int // how often it is met, at least; zero means 3

	prepare func(*rig)                // before the endpoint is made
	begin   func(*rig)                // after the receiver was told to misbehave
	during  func(*rig, time.Duration) // once it was met; gets how long that took
	mend    func(*rig)                // beside the receiver's own
	clean   func(*rig)                // stops what prepare started
}

// statuses answers with one after the other.
func statuses(codes ...int) behaviour {
	return behaviour{serve: func(w http.ResponseWriter, _ *http.Request, hit int) {
		w.WriteHeader(codes[hit%len(codes)])
	}}
}

func refusing(codes ...int) behaviour {
	b := statuses(codes...)
	b.refuses = true
	return b
}

// raw answers with bytes in place of HTTP, then does the rest.
func raw(answer func(hit int) string, rest func(c *conn)) func(http.ResponseWriter, *http.Request, int) {
	return func(w http.ResponseWriter, _ *http.Request, hit int) {
		hijacked, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		c := hijacked.(*conn)
		defer c.Close()
		_, _ = io.WriteString(c, answer(hit))
		if rest != nil {
			rest(c)
		}
	}
}

func always(s string) func(int) string { return func(int) string { return s } }

// untilHungUp reads until the other side closes the connection.
func untilHungUp(c *conn) { _, _ = io.Copy(io.Discard, c) }

// pour writes an endless body, until nobody reads it any more.
func pour(status int) func(http.ResponseWriter, *http.Request, int) {
	return func(w http.ResponseWriter, _ *http.Request, _ int) {
		w.WriteHeader(status)
		for piece := make([]byte, 32<<10); ; {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}
}

// large writes 100 MB, or as much as is read.
func large(status int) func(http.ResponseWriter, *http.Request, int) {
	return func(w http.ResponseWriter, _ *http.Request, _ int) {
		const size = 100 << 20
		w.Header().Set("Content-Length", strconv.Itoa(size))
		w.WriteHeader(status)
		piece := make([]byte, 1<<20)
		for range size / len(piece) {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}
}

// redirects goes through the codes; to is where they point to.
func redirects(to func(*http.Request) string) behaviour {
	codes := []int{301, 302, 303, 307, 308}
	return behaviour{serve: func(w http.ResponseWriter, req *http.Request, hit int) {
		w.Header().Set("Location", to(req))
		w.WriteHeader(codes[hit%len(codes)])
	}}
}

// dripping sends an answer byte by byte, in so long a pace that it is not complete
// before the endpoint's Timeout is over.
func dripping(c *conn, answer string) {
	for i := range len(answer) {
		if _, err := io.WriteString(c, answer[i:i+1]); err != nil {
			return
		}
		time.Sleep(timeout / 5)
	}
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

// over waits until the other side has given up.
func over(_ http.ResponseWriter, req *http.Request, _ int) { <-req.Context().Done() }

func faults() []fault {
	return []fault{
		{name: "connections refused", behaviour: behaviour{refuse: true}},
		{name: "restart on the same port", begin: func(g *rig) {
			// It is killed while posts come in, and comes back, again and again.
			for range 3 {
				g.write(7, 7)
				g.r.stop()
				before := g.failures()
				g.write(7, 7)
				g.eventually(func() bool { return g.failures() > before }, "it is missed")
				require.NoError(g.t, g.r.start())
				g.settled()
			}
			g.r.misbehave(&behaviour{refuse: true})
		}, behaviour: behaviour{takes: true}},
		{name: "reset on connect", behaviour: behaviour{conn: func(c *conn, _ int) { c.reset() }}},
		{name: "reset after the request's headers", behaviour: behaviour{
			early: raw(always(""), (*conn).reset)}},
		{name: "reset mid request body", behaviour: behaviour{conn: func(c *conn, _ int) {
			_, _ = io.ReadFull(c, make([]byte, 700)) // the headers and some of the body
			c.reset()
		}}},
		{name: "reset after the answer's headers, 503", behaviour: behaviour{
			serve: raw(always("HTTP/1.1 503 No\r\nContent-Length: 1000\r\n\r\n"), (*conn).reset)}},
		{name: "reset after the answer's headers, 200", behaviour: behaviour{takes: true,
			serve: raw(always("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"), (*conn).reset)}},
		{name: "reset mid answer body, 503", behaviour: behaviour{
			serve: raw(always("HTTP/1.1 503 No\r\nContent-Length: 1000\r\n\r\nsome"), (*conn).reset)}},
		{name: "reset mid answer body, 200", behaviour: behaviour{takes: true,
			serve: raw(always("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome"), (*conn).reset)}},
		{name: "taken, then reset without an answer", behaviour: behaviour{takes: true,
			serve: raw(always(""), (*conn).reset)}},
		{name: "accept, never read", behaviour: behaviour{conn: func(c *conn, _ int) {
			time.Sleep(timeout) // reads nothing as long as anybody waits
			untilHungUp(c)
		}}},
		{name: "accept, read, never answer", behaviour: behaviour{takes: true, serve: over}},
		{name: "one byte at a time, header", behaviour: behaviour{takes: true,
			serve: raw(always(""), func(c *conn) { dripping(c, okAnswer) })}},
		{name: "one byte at a time, body of a 503", behaviour: behaviour{
			serve: raw(always("HTTP/1.1 503 No\r\nContent-Length: 1000\r\n\r\n"), func(c *conn) { dripping(c, okAnswer) })}},
		{name: "one byte at a time, body of a 200", behaviour: behaviour{takes: true,
			serve: raw(always("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"), func(c *conn) { dripping(c, okAnswer) })}},
		{name: "endless header", behaviour: behaviour{serve: raw(always("HTTP/1.1 200 OK\r\n"), func(c *conn) {
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(c, "X-%d: %01000d\r\n", i, i); err != nil {
					return
				}
			}
		})}},
		{name: "endless body, 200", behaviour: behaviour{takes: true, serve: pour(200)}},
		{name: "endless body, 503", behaviour: behaviour{serve: pour(503)}},
		{name: "100 MB answer, 200", behaviour: behaviour{takes: true, serve: large(200)}},
		{name: "100 MB answer, 503", behaviour: behaviour{serve: large(503)}},
		{name: "not HTTP", strikes: 7, behaviour: behaviour{serve: raw(func(hit int) string {
			return []string{
				"220 mail.example.org ESMTP\r\n",
				"HTTP/1.1 abc\r\n\r\n",
				"\x00\x01\x02\x03\xff\xfe\r\n\r\n",
				"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
				"HTTP/1.1 200 OK\r\nContent-Length: -7\r\n\r\n",
				"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
				"", // nothing at all
			}[hit%7]
		}, nil)}},
		{name: "keep-alive dropped between posts", behaviour: behaviour{takes: true, serve: raw(always(okAnswer), nil)}, strikes: 10},
		{name: "101 Switching Protocols", behaviour: behaviour{
			serve: raw(always("HTTP/1.1 101 Hm\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"), untilHungUp)}},

		{name: "300, 304, 305, 399", strikes: 4, behaviour: statuses(300, 304, 305, 399)},
		{name: "301, 302, 303, 307, 308, same host", strikes: 5, behaviour: redirects(func(*http.Request) string { return "/elsewhere" })},
		redirectAway(),
		{name: "301, 302, 303, 307, 308, to itself", strikes: 5, behaviour: redirects(func(req *http.Request) string { return req.URL.Path })},
		{name: "408, 425, 429, 500, 502, 503, 504, 599", strikes: 8, behaviour: statuses(408, 425, 429, 500, 502, 503, 504, 599)},
		retryAfter("503 with Retry-After, seconds", func(at time.Time) string { return "1" }),
		retryAfter("429 with Retry-After, a date", func(at time.Time) string {
			return at.Add(2 * time.Second).UTC().Format(http.TimeFormat) // in whole seconds: 1 s at least
		}),
		{name: "401, 403, 404", strikes: 3, behaviour: statuses(401, 403, 404), during: waits(ReasonRefused)},
		{name: "402, 405, 406, 409, 418, 451, 499", strikes: 7, behaviour: statuses(402, 405, 406, 409, 418, 451, 499), during: waits(ReasonRefused)},
		{name: "400, 413, 415, 422, 501 for a while", strikes: 40, behaviour: refusing(400, 413, 415, 422, 501), during: waits(ReasonRefused)},
		{name: "410, then Resume", strikes: 1, behaviour: statuses(410),
			during: func(g *rig, _ time.Duration) {
				g.eventually(func() bool { return g.e.Metrics().State.Phase == Stopped }, "it stops")
				assert.Equal(g.t, ReasonGone, g.e.Metrics().State.Reason)
				hits, _, _, _ := g.r.count()
				assert.Equal(g.t, 1, hits, "no post after a 410")
			},
			mend: func(g *rig) {
				hits, _, _, _ := g.r.count()
				assert.Equal(g.t, 1, hits, "no post after a 410")
				g.e.Resume()
			}},

		overTLS("certificate for another name", "other.test", time.Hour),
		overTLS("certificate expired", "127.0.0.1", -time.Hour),
		{name: "no TLS where it should be", prepare: withTLS, behaviour: behaviour{conn: func(c *conn, _ int) {
			_, _ = io.ReadFull(c, make([]byte, 100))
			_, _ = io.WriteString(c, "HTTP/1.0 400 Client sent an HTTP request to an HTTPS server.\r\n\r\n")
		}}},
		byName("name does not resolve", ""),
		byName("name rebinds to cloud metadata", "169.254.169.254"),
		byName("name rebinds to a denied address", "127.0.0.2"),
	}
}

// waits checks what the endpoint says of itself while it waits.
func waits(reason string) func(*rig, time.Duration) {
	return func(g *rig, _ time.Duration) {
		// The first failure may still be the old connection's.
		g.eventually(func() bool {
			s := g.e.Metrics().State
			return s.Phase == Waiting && s.Reason == reason
		}, "it waits because of %s", reason)
	}
}

// redirectAway points to another receiver, to which nothing may come.
func redirectAway() fault {
	var other *receiver
	f := fault{name: "301, 302, 303, 307, 308, other host", strikes: 5}
	f.prepare = func(g *rig) { other = newReceiver(g.t, nil) }
	f.behaviour = redirects(func(*http.Request) string { return other.url() })
	f.clean = func(g *rig) {
		_, posts, conns, _ := other.count()
		assert.Zero(g.t, posts+conns, "a redirect is not followed")
		other.stop()
	}
	return f
}

func retryAfter(name string, value func(time.Time) string) fault {
	var (
		mu    sync.Mutex
		times []time.Time
	)
	code, _ := strconv.Atoi(name[:3])
	return fault{name: name, strikes: 2,
		behaviour: behaviour{serve: func(w http.ResponseWriter, _ *http.Request, hit int) {
			mu.Lock()
			times = append(times, time.Now())
			mu.Unlock()
			if hit == 0 { // the next failure is one like any other
				w.Header().Set("Retry-After", value(time.Now()))
			}
			w.WriteHeader(code)
		}},
		begin: func(*rig) {
			mu.Lock()
			times = nil
			mu.Unlock()
		},
		during: func(g *rig, _ time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			assert.GreaterOrEqual(g.t, times[1].Sub(times[0]), time.Second, "it waits as long as it was told")
		},
	}
}

func withTLS(g *rig) {
	g.ca = newAuthority(g.t)
	g.ca.show("127.0.0.1", time.Now().Add(time.Hour))
	g.r = newReceiver(g.t, g.ca.config())
	g.config.TLS.CAFile = g.ca.file
}

func overTLS(name, host string, valid time.Duration) fault {
	return fault{name: name, prepare: withTLS,
		begin: func(g *rig) {
			g.ca.show(host, time.Now().Add(valid))
			g.r.hangUp() // only new connections see the new certificate
		},
		during: waits(ReasonRefused),
		mend:   func(g *rig) { g.ca.show("127.0.0.1", time.Now().Add(time.Hour)) },
	}
}

// byName has a receiver with a name, which comes to have another address, or none.
func byName(name, addr string) fault {
	f := fault{name: name,
		prepare: func(g *rig) {
			var err error
			g.names, err = newNameServer()
			require.NoError(g.t, err)
			g.names.set("127.0.0.1")
			g.r = newReceiver(g.t, nil)
			g.url = "http://hook.faults.test.:" + g.r.addr[len("127.0.0.1:"):]
			g.config.Addresses.Deny = []string{"127.0.0.2"}
		},
		begin: func(g *rig) {
			g.names.set(addr)
			g.r.hangUp()
		},
		mend: func(g *rig) { g.names.set("127.0.0.1") },
	}
	if addr != "" {
		f.during = waits(ReasonRefused) // blocked, and not merely out of reach
	}
	return f
}
