package main

import (
	"context"
	"sync"

	"github.com/registry-notifications/notifications"
)

// intake is in front of a registry's hub, and notes what that has accepted.
type intake struct {
	notifications.Sink

	mu  sync.Mutex // guards the rest
	ids []string
}

func (i *intake) Write(ctx context.Context, events ...*notifications.Event) error {
	if err := i.Sink.Write(ctx, events...); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, e := range events {
		i.ids = append(i.ids, e.ID)
	}
	return nil
}

// accepted returns the IDs of what was accepted.
func (i *intake) accepted() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.ids[:len(i.ids):len(i.ids)]
}
