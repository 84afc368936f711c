package journal

import (
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications"
)

// Sync says when what was written is made durable (fsync).
type Sync string

const (
	// SyncAlways has Write return when its events are safe from a power cut. Writers that
	// come at the same time share one sync. The default.
	SyncAlways Sync = "always"

	// SyncInterval has Write return when the system has the events. A power cut can lose
	// what was written within Config.SyncInterval and the sync itself; the end of the
	// process alone, however it comes, loses nothing.
	SyncInterval Sync = "interval"

	// SyncNone leaves it to the system, usually half a minute. The end of the process
	// alone loses nothing.
	SyncNone Sync = "none"
)

// Start is where a sink begins whose name the journal does not know.
type Start string

const (
	End       Start = "end"       // with what is written from now on. The default
	Beginning Start = "beginning" // with the oldest record that is there
)

// Reject is what Config.Overflow can be beside notifications.Block and
// notifications.DropOldest: Write returns notifications.ErrFull at once, and no sink
// gets the events.
const Reject notifications.Overflow = "reject"

// Config is the configuration of a Journal. The zero value has the defaults.
type Config struct {
	// Sync is when what was written is made durable. Empty means SyncAlways.
	Sync Sync

	// SyncInterval is how long SyncInterval puts it off. Zero means 1s.
	SyncInterval time.Duration

	// SegmentBytes is how large a file of the log gets. Zero means 64 MiB, or an eighth
	// of MaxBytes if that is less; at least 64 KiB. Only whole segments are removed.
	SegmentBytes int64

	// MaxBytes is how much the segments may take on disk, with what is set aside for the
	// newest; twice SegmentBytes at least. Zero means no limit. Dead letters are not in it:
	// of these there is up to 1 GiB, and the oldest make room.
	MaxBytes int64

	// MaxAge is how old the oldest event may get that a sink has not settled. It is looked
	// at when something is written, and kept to an eighth of it. Zero means no limit.
	MaxAge time.Duration

	// Overflow is what a Write does that finds a limit reached: notifications.Block, which
	// is the default, Reject, or notifications.DropOldest, which drops whole segments from
	// under the sinks that are behind.
	Overflow notifications.Overflow

	// Retain is how long what all sinks have settled is kept for Read and Rewind. It goes
	// before MaxBytes drops or refuses anything. Zero means that it need not be kept.
	Retain time.Duration

	// Start is where sinks begin whose names are new. Empty means End.
	Start Start

	// Hub is the configuration of the hub. What bounds a hub in memory has to be zero.
	// Without DeadLetters, what the hub's endpoints give up is kept in the directory too:
	// see Journal.DeadLetters.
	Hub notifications.HubConfig

	// Logger gets what nobody can be told otherwise. Nil means logrus's standard logger.
	Logger *logrus.Entry

	// Tests take these away, to see that they are missed: the sync of a segment, that of
	// its entry in the directory, what frames say of others.
	unsynced, unlinked, unmarked bool
}

const minSegment = 64 << 10

func wrong(field, format string, args ...any) error {
	return fmt.Errorf("journal: %w", &notifications.ConfigError{Field: field, Err: fmt.Errorf(format, args...)})
}

func (c *Config) setDefaults() error {
	if c.Logger == nil {
		c.Logger = logrus.NewEntry(logrus.StandardLogger())
	}
	for name, d := range map[string]*time.Duration{"syncinterval": &c.SyncInterval, "maxage": &c.MaxAge, "retain": &c.Retain} {
		if *d < 0 {
			return wrong(name, "%v: allowed are zero and above", *d)
		}
	}
	switch c.Sync {
	case "":
		c.Sync = SyncAlways
	case SyncAlways, SyncInterval, SyncNone:
	default:
		return wrong("sync", "%q: allowed are %s, %s and %s", c.Sync, SyncAlways, SyncInterval, SyncNone)
	}
	if c.SyncInterval == 0 {
		c.SyncInterval = time.Second
	}
	switch c.Start {
	case "":
		c.Start = End
	case End, Beginning:
	default:
		return wrong("start", "%q: allowed are %s and %s", c.Start, End, Beginning)
	}
	switch c.Overflow {
	case "":
		c.Overflow = notifications.Block
	case notifications.Block, Reject, notifications.DropOldest:
	default:
		return wrong("overflow", "%q: allowed are %s, %s and %s", c.Overflow, notifications.Block, Reject, notifications.DropOldest)
	}
	if c.Hub.MaxPending != 0 || c.Hub.MaxPendingBytes != 0 || c.Hub.Overflow != "" {
		return wrong("hub", "maxpending, maxpendingbytes and overflow bound a hub in memory: allowed here are maxbytes, maxage and overflow of the journal")
	}
	if c.Hub.Logger == nil {
		c.Hub.Logger = c.Logger
	}
	return c.setSizes()
}

func (c *Config) setSizes() error {
	switch {
	case c.SegmentBytes < 0 || c.SegmentBytes > 0 && c.SegmentBytes < minSegment:
		return wrong("segmentbytes", "%d: allowed are zero, for the default, and %d and above", c.SegmentBytes, minSegment)
	case c.MaxBytes < 0 || c.MaxBytes > 0 && c.MaxBytes < 2*max(minSegment, c.SegmentBytes):
		return wrong("maxbytes", "%d: allowed are zero, for no limit, and twice segmentbytes (%d) and above", c.MaxBytes, max(minSegment, c.SegmentBytes))
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 64 << 20
		if c.MaxBytes > 0 {
			c.SegmentBytes = max(minSegment, min(c.SegmentBytes, c.MaxBytes/8))
		}
	}
	return nil
}
