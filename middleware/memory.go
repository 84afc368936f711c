package middleware

import (
	"context"
	"time"

	"github.com/registry-notifications/notifications"
)

// memoryOptions are those of a notifications.HubConfig, and mean the same.
type memoryOptions struct {
	MaxPending      int                    `yaml:"maxpending"`
	MaxPendingBytes int                    `yaml:"maxpendingbytes"`
	Overflow        notifications.Overflow `yaml:"overflow"`
	Backoff         time.Duration          `yaml:"backoff"`
	MaxBackoff      time.Duration          `yaml:"maxbackoff"`
}

func openMemory(_ context.Context, o memoryOptions, setup HubSetup) (Hub, error) {
	hub, err := notifications.NewBroadcaster(notifications.HubConfig{
		MaxPending: o.MaxPending, MaxPendingBytes: o.MaxPendingBytes, Overflow: o.Overflow,
		Backoff: o.Backoff, MaxBackoff: o.MaxBackoff,
		Logger: setup.Logger,
	})
	if err != nil {
		return nil, err // and not a hub that is nil
	}
	return hub, nil
}
