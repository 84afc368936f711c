package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// side is this program in a process of its own, which is started and killed and started
// again.
type side struct {
	name string
	addr string // where it listens
	args []string
	out  io.Writer // for its stdout

	environment []string

	process *exec.Cmd
	lives   io.Closer // the end of the process's stdin: it ends when that is closed
	ended   chan struct{}
	log     bytes.Buffer // for reading when it has ended

	mu   sync.Mutex // guards the rest
	ends bool       // is to end
}

var errSilent = errors.New("was not ready in time")

// start starts it, and returns when it is ready. If it ends by itself before it is killed or
// stopped, failed is called.
func (s *side) start(ctx context.Context, failed func(error)) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	s.log.Reset()
	s.ended = make(chan struct{})
	s.isToEnd(false)
	s.process = exec.Command(self, append([]string{s.name}, s.args...)...)
	s.process.Env = s.environment
	s.process.Stdout, s.process.Stderr = s.out, &s.log
	if s.lives, err = s.process.StdinPipe(); err != nil {
		return err
	}
	if err := s.process.Start(); err != nil {
		return err
	}
	go func() {
		err := s.process.Wait()
		s.mu.Lock()
		asked := s.ends
		s.mu.Unlock()
		if !asked {
			failed(fmt.Errorf("the %s side has ended: %v, and its last words:\n%s", s.name, err, lastOf(s.log.Bytes())))
		}
		close(s.ended)
	}()

	ctx, cancel := context.WithTimeoutCause(ctx, 20*time.Second, errSilent)
	defer cancel()
	var anything any
	if err := until(ctx, func() bool { return readStatus(ctx, s.addr, &anything) == nil }); err != nil {
		return fmt.Errorf("the %s side: %w", s.name, err)
	}
	return nil
}

// kill ends it as hard as possible, and returns when it is dead.
func (s *side) kill() {
	s.isToEnd(true)
	_ = s.process.Process.Kill() // of one that has ended by itself, failed has heard
	<-s.ended
}

// stop has it end by itself.
func (s *side) stop(ctx context.Context) error {
	if s.process == nil || s.process.Process == nil {
		return nil // was never started
	}
	select {
	case <-s.ended:
		return nil
	default:
	}
	s.isToEnd(true)
	_ = s.lives.Close()
	select {
	case <-s.ended:
	case <-ctx.Done():
		s.kill()
		return fmt.Errorf("the %s side does not end: %w", s.name, ctx.Err())
	}
	if !s.process.ProcessState.Success() {
		return fmt.Errorf("the %s side: %v, and its last words:\n%s", s.name, s.process.ProcessState, lastOf(s.log.Bytes()))
	}
	return nil
}

func (s *side) isToEnd(ends bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = ends
}

// lastOf returns the end of a log.
func lastOf(log []byte) []byte {
	const most = 4 << 10
	return log[max(0, len(log)-most):]
}

// until waits until something is so. Its error is the cause of ctx's end.
func until(ctx context.Context, so func() bool) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
