package middleware

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/journal"
)

// journalOptions are those of a journal.Config, and mean the same.
type journalOptions struct {
	Dir          string                 `yaml:"dir"`
	Sync         journal.Sync           `yaml:"sync"`
	SyncInterval time.Duration          `yaml:"syncinterval"`
	SegmentBytes int64                  `yaml:"segmentbytes"`
	MaxBytes     int64                  `yaml:"maxbytes"`
	MaxAge       time.Duration          `yaml:"maxage"`
	Overflow     notifications.Overflow `yaml:"overflow"`
	Retain       time.Duration          `yaml:"retain"`
	Start        journal.Start          `yaml:"start"`
	Backoff      time.Duration          `yaml:"backoff"`
	MaxBackoff   time.Duration          `yaml:"maxbackoff"`

	// Forget are the names of endpoints that there are no more. With a mere "forget what
	// is not in the YAML", which stays there, a slip in a name would cost what is pending.
	Forget []string `yaml:"forget"`
}

func openJournal(ctx context.Context, o journalOptions, setup HubSetup) (Hub, error) {
	for i, name := range o.Forget {
		if field := fmt.Sprintf("forget[%d]", i); slices.Contains(setup.Endpoints, name) {
			return nil, &notifications.ConfigError{Field: field, Err: fmt.Errorf("%.*q: is an endpoint: allowed are the names of those that there are no more, or that are disabled", mostShown, name)}
		}
	}
	j, err := journal.Open(o.Dir, journal.Config{
		Sync: o.Sync, SyncInterval: o.SyncInterval,
		SegmentBytes: o.SegmentBytes, MaxBytes: o.MaxBytes, MaxAge: o.MaxAge,
		Overflow: o.Overflow, Retain: o.Retain, Start: o.Start,
		Hub:    notifications.HubConfig{Backoff: o.Backoff, MaxBackoff: o.MaxBackoff},
		Logger: setup.Logger,
	})
	if config := (*notifications.ConfigError)(nil); err != nil && !errors.As(err, &config) {
		return nil, &notifications.ConfigError{Field: "dir", Err: err}
	}
	if err != nil {
		return nil, err
	}
	if err := tidy(ctx, j, o.Forget, setup); err != nil {
		return nil, errors.Join(err, j.Close(ctx))
	}
	return j, nil
}

// tidy forgets what is to be forgotten, and tells of the rest that nobody will ask for: it
// would grow in silence until the disk is full.
func tidy(ctx context.Context, j *journal.Journal, forget []string, setup HubSetup) error {
	cursors := j.Stat().Cursors
	for _, name := range slices.Sorted(maps.Keys(cursors)) {
		log := setup.Logger.WithField("endpoint", name).WithField("behind", cursors[name].Behind)
		switch {
		case slices.Contains(setup.Endpoints, name):
		case slices.Contains(forget, name):
			if err := j.Remove(ctx, name); err != nil {
				return &notifications.ConfigError{Field: "forget", Err: err}
			}
			log.Warn("notifications: the journal has forgotten an endpoint, and what was pending for it")
		default:
			log.Warn("notifications: the journal keeps everything for an endpoint that does not run: name it in journal.forget if it is not to come back")
		}
	}
	return nil
}

// checkJournal refuses what a journal has ways of its own for, and would ignore.
func (o *options) checkJournal() error {
	if o.Hub == journalHub && o.DeadLetters != (deadLetterOptions{}) {
		return wrong(root+".deadletters", "is not for hub: %s, which keeps them in its directory: allowed is none", journalHub)
	}
	return nil
}
