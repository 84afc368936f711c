package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// server is this program, run as the stock server that it is.
type server struct {
	host    string // where it listens
	process *exec.Cmd
	ended   chan error // gets one
}

// startServer runs "serve" with a configuration file, and returns when the server answers.
// It ends with ctx, or by stop.
func startServer(ctx context.Context, config string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &server{process: exec.CommandContext(ctx, self, "serve", config), ended: make(chan error, 1)}
	s.process.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none") // nobody here collects traces
	s.process.Cancel = func() error { return s.process.Process.Signal(syscall.SIGTERM) }
	s.process.WaitDelay = 30 * time.Second
	log, err := s.process.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.process.Start(); err != nil {
		return nil, err
	}

	listens := make(chan string, 1)
	go func() {
		last := read(log, listens)
		err := s.process.Wait()
		if err != nil {
			err = fmt.Errorf("the server: %w, and its last words:\n%s", err, last)
		}
		s.ended <- err
	}()
	select {
	case s.host = <-listens:
		// It listens before it is ready for the signal of stop, and answers after that.
		if err := answers(ctx, s.host); err != nil {
			return nil, errors.Join(err, s.stop())
		}
		return s, nil
	case err := <-s.ended:
		return nil, cmp.Or(err, errSilent)
	}
}

func answers(ctx context.Context, host string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/v2/", nil)
	if err != nil {
		return err
	}
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

var errSilent = errors.New("the server ended and has never said where it listens")

// stop asks the server to end, as a service manager does, and waits until it has.
func (s *server) stop() error {
	_ = s.process.Process.Signal(syscall.SIGTERM) // one that has ended already has said why
	return <-s.ended
}

// listening is what a stock server logs when it takes connections.
var listening = regexp.MustCompile(`listening on ([0-9.]+:[0-9]+)`)

// read reads a server's log to its end, and returns the last lines. It sends to listens
// where the server listens.
func read(log io.Reader, listens chan<- string) (last string) {
	const lines = 50 // a stock server panics where its configuration is wrong, which takes some
	var kept []string
	for r := bufio.NewReader(log); ; {
		line, err := r.ReadString('\n')
		if line != "" {
			kept = append(kept[max(0, len(kept)-lines+1):], line)
		}
		if host := listening.FindStringSubmatch(line); host != nil {
			select {
			case listens <- host[1]:
			default:
			}
		}
		if err != nil {
			return strings.Join(kept, "")
		}
	}
}
