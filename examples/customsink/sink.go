package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"sync"

	"github.com/registry-notifications/notifications"
)

// jsonLines is a Sink that writes each event as one line of JSON.
type jsonLines struct {
	mu     sync.Mutex // guards the rest
	to     io.WriteCloser
	closed bool
	err    error // of the first Close
}

var _ notifications.Sink = (*jsonLines)(nil)

func (s *jsonLines) Write(ctx context.Context, events ...*notifications.Event) error {
	var lines bytes.Buffer
	for _, e := range events {
		if e == nil {
			return notifications.ErrNilEvent
		}
		if err := json.NewEncoder(&lines).Encode(e); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return notifications.ErrSinkClosed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	_, err := s.to.Write(lines.Bytes()) // all of a block, or the caller gives it again
	return err
}

func (s *jsonLines) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed, s.err = true, s.to.Close()
	}
	return s.err
}
