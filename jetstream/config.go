package jetstream

import (
	"fmt"
	"os"
	"regexp"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications"
)

// Config is the configuration of a Hub. The zero value is right for a single server; a
// cluster wants Replicas of three. All instances of one registry have the same, but for
// Instance.
type Config struct {
	// Stream is the name of the stream, which Open makes if there is none. Letters, digits,
	// dashes and underscores. Empty means "notifications".
	Stream string

	// Subject is what the subjects of the stream begin with: <subject>.<partition>.<action>.
	// Empty means the name of the stream.
	Subject string

	// Partitions is how many pieces each sink's work comes in: events of one repository are
	// always in the same, in order, and one instance at a time works on it. It bounds how many
	// instances deliver to one sink at once, and cannot be changed while there is a stream.
	// Zero means 8; the most is 1024.
	Partitions int

	// Replicas is how many servers have each event. Zero means 1. What one server has
	// acknowledged can be lost with its power: see the documentation of the package.
	Replicas int

	// Storage is where they keep it. The zero value is files.
	Storage jetstream.StorageType

	// MaxAge and MaxBytes bound what the stream keeps. What is older than MaxAge is lost to
	// those that have not had it. Where MaxBytes is reached, the oldest events make room that
	// all sinks have had; if there are none, Write returns a *FullError, or the spill takes
	// what comes. Zero means no limit. Nothing else makes a stream smaller: what all sinks have
	// had stays for feeds. Set one of both.
	MaxAge   time.Duration
	MaxBytes int64

	// Duplicates is for how long the stream remembers the IDs of events. Zero means 2m, or
	// MaxAge if that is less.
	Duplicates time.Duration

	// Window is how many events are under way to the stream at once. Zero means 512.
	Window int

	// Queued has Write return when the events are in this process's memory, where up to
	// 16,384 wait in order; then it waits for room. Close writes what is there. What is there
	// when the process dies is lost.
	Queued bool

	// Spill is where events go while the cluster does not take them.
	Spill Spill

	// Timeout is how long an answer of the servers may take before it is asked again: at most
	// half of Lease. Zero means 2s, or half of Lease if that is less.
	Timeout time.Duration

	// Lease is for how long an instance that is not heard of any more keeps its partitions.
	// It gives up delivering when it could not renew that in three quarters of the time, so
	// that should be longer than the servers take to elect a leader (up to 9s). At least 1s;
	// zero means 15s.
	Lease time.Duration

	// Instance is the name of this instance among those of one registry. Empty means the
	// host's name and an ID of this run.
	Instance string

	// Hub is the configuration of the hub. What bounds a hub in memory has to be zero.
	// Without DeadLetters, what the hub's endpoints give up is kept in the cluster: see
	// Hub.DeadLetters.
	Hub notifications.HubConfig

	// Logger is where it logs. Nil means logrus's standard logger.
	Logger *logrus.Entry
}

var (
	streamName  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,200}$`)
	subjectName = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
)

const mostPartitions = 1024

func (c *Config) setDefaults() error {
	if c.Stream == "" {
		c.Stream = "notifications"
	}
	if c.Subject == "" {
		c.Subject = c.Stream
	}
	timeoutIsDefault, duplicatesIsDefault := c.Timeout == 0, c.Duplicates == 0
	if !streamName.MatchString(c.Stream) {
		return wrong("stream", "%q: allowed are letters, digits, dashes and underscores, at most 200", c.Stream)
	}
	if !subjectName.MatchString(c.Subject) {
		return wrong("subject", "%q: allowed are letters, digits, dashes and underscores, with dots between", c.Subject)
	}
	for _, n := range []struct {
		name             string
		value            *int
		zero, from, upTo int
	}{
		{"partitions", &c.Partitions, 8, 1, mostPartitions},
		{"replicas", &c.Replicas, 1, 1, 5},
		{"window", &c.Window, 512, 1, 1 << 16},
	} {
		if *n.value == 0 {
			*n.value = n.zero
		}
		if *n.value < n.from || *n.value > n.upTo {
			return wrong(n.name, "%d: allowed are %d to %d, and zero for the default", *n.value, n.from, n.upTo)
		}
	}
	for _, d := range []struct {
		name       string
		value      *time.Duration
		zero, from time.Duration
	}{
		{"maxage", &c.MaxAge, 0, 100 * time.Millisecond},
		{"duplicates", &c.Duplicates, 2 * time.Minute, 100 * time.Millisecond},
		{"timeout", &c.Timeout, 2 * time.Second, time.Millisecond},
		{"lease", &c.Lease, 15 * time.Second, time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.zero
		}
		if *d.value < d.from && *d.value != 0 || *d.value < 0 {
			return wrong(d.name, "%v: allowed are %v and above, and zero for the default", *d.value, d.from)
		}
	}
	if timeoutIsDefault {
		c.Timeout = min(c.Timeout, c.Lease/2)
	}
	if duplicatesIsDefault && c.MaxAge > 0 {
		c.Duplicates = min(c.Duplicates, c.MaxAge)
	}
	switch {
	case c.Timeout > c.Lease/2:
		return wrong("timeout", "%v: allowed is half of lease, %v, and below", c.Timeout, c.Lease)
	case len(c.Subject) > 200:
		return wrong("subject", "%d characters: allowed are at most 200", len(c.Subject))
	case c.MaxBytes < 0:
		return wrong("maxbytes", "%d: allowed are zero, for no limit, and above", c.MaxBytes)
	case c.MaxAge > 0 && c.Duplicates > c.MaxAge:
		return wrong("duplicates", "%v: allowed are those up to maxage, %v", c.Duplicates, c.MaxAge)
	case c.Spill.Dir == "" && c.Spill != (Spill{}):
		return wrong("spill.dir", "empty: is needed with spill.sync %q or spill.maxbytes %d", c.Spill.Sync, c.Spill.MaxBytes)
	case c.Hub.MaxPending != 0 || c.Hub.MaxPendingBytes != 0:
		return wrong("hub", "maxpending %d, maxpendingbytes %d: are for a hub in memory: allowed is zero", c.Hub.MaxPending, c.Hub.MaxPendingBytes)
	case c.Storage != jetstream.FileStorage && c.Storage != jetstream.MemoryStorage:
		return wrong("storage", "%v: allowed are file and memory", c.Storage)
	}
	if c.Instance == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "unknown"
		}
		c.Instance = host + "-" + newID()
	}
	if c.Logger == nil {
		c.Logger = c.Hub.Logger
	}
	if c.Logger == nil {
		c.Logger = logrus.NewEntry(logrus.StandardLogger())
	}
	if c.Hub.Logger == nil {
		c.Hub.Logger = c.Logger
	}
	return nil
}

func wrong(field, format string, args ...any) error {
	return fmt.Errorf("jetstream: %w", &notifications.ConfigError{Field: field, Err: fmt.Errorf(format, args...)})
}
