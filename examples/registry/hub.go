package main

import (
	"context"
	"errors"
	"time"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/journal"
)

// hub is what this program needs of one. Whether it is in memory or on disk, only
// openHub knows.
type hub interface {
	notifications.Sink
	Add(name string, sink notifications.Sink) error
	Metrics() map[string]notifications.Metrics
}

// openHub opens the journal in a directory or, without one, a hub in memory.
func openHub(dir string) (hub, error) {
	if dir != "" {
		return journal.Open(dir, journal.Config{})
	}
	return notifications.NewBroadcaster(notifications.HubConfig{})
}

// deliver has the hub deliver to a webhook, and returns how many events it has for it
// already: what an earlier run has left in the journal.
func deliver(h hub, w *webhook) (left int, err error) {
	endpoint, err := notifications.NewEndpoint(w.name, w.url, notifications.EndpointConfig{
		Backoff: 100 * time.Millisecond, MaxBackoff: 400 * time.Millisecond,
	})
	if err != nil {
		return 0, err
	}
	if err := h.Add(w.name, endpoint); err != nil {
		return 0, errors.Join(err, endpoint.Close(context.Background()))
	}
	return int(h.Metrics()[w.name].Accepted), nil
}
