package observer

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications"
)

// Config is the configuration of an Observer. Feeds, Store and Processor are needed.
type Config struct {
	// Feeds are what to watch, by names of which positions and states are kept. A journal
	// is one.
	Feeds map[string]notifications.Feed

	// Prefixes are the repositories to observe: those of these names, and all below them
	// ("team" is for team and team/app, and not for teams). Empty means all.
	Prefixes []string

	// Store keeps positions and states. It stays the caller's to close.
	Store Store

	// Processor acts.
	Processor Processor

	// Initializer prepares repositories, if they have to be.
	Initializer Initializer

	// Activities are how many run at once, and Lanes how many of these may be lanes of
	// repositories. Zero means 20, and half of the activities but at most 10. The rest is for
	// workflows and for reading the feeds.
	Activities, Lanes int

	// Retries are how often a call that has failed is tried again before its error is
	// stored. Zero means 5, and below zero none.
	Retries int

	// Backoff is how long it waits at most before the first retry, twice as long before
	// each one after that, and MaxBackoff the most. Zero means 100ms and 10s. How long it is
	// in the end, is random.
	Backoff, MaxBackoff time.Duration

	// MaxPending is how many events are read ahead of what is done, of all feeds together,
	// however large these are. Zero means 16,384. One repository that has as many waiting
	// stops all. While it loads, what is read is folded, and not counted.
	MaxPending int

	// SaveInterval is how often positions and states are saved: at most that often, and less
	// if it takes more than a tenth of the time. Zero means 1s. Renames, and the end of a load,
	// are saved at once.
	SaveInterval time.Duration

	// Grace is how long calls that are under way may take when Watch is to end. Then their
	// context ends, too; Watch waits for those that do not listen to it. The last save may
	// take as long again. Zero means 30s.
	Grace time.Duration

	// Hold is the name of a place that feeds keep which can: a journal then keeps what is
	// not done with, however long that takes, until its Remove with that name. Empty means
	// none, and what the feed retains has to be enough.
	Hold string

	// Progress is called while it loads, for each feed by itself, about five times a second
	// and at the end.
	Progress func(Progress)

	// Logger is where it logs. Nil means logrus's standard logger.
	Logger *logrus.Entry
}

func (c *Config) setDefaults() error {
	switch {
	case len(c.Feeds) == 0:
		return wrong("feeds", "none: allowed are one and more")
	case c.Store == nil:
		return wrong("store", "nil: is needed")
	case c.Processor == nil:
		return wrong("processor", "nil: is needed")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Feeds)) {
		if name == "" || strings.Contains(name, "/") || !utf8.ValidString(name) || c.Feeds[name] == nil {
			return wrong("feeds", "%q: allowed are names in UTF-8, without a slash, of feeds that are not nil", name)
		}
	}
	switch {
	case c.Activities < 0 || c.Activities == 1:
		return wrong("activities", "%d: allowed are zero, for the default, and two and above", c.Activities)
	case c.Activities == 0:
		c.Activities = 20
	}
	for i, p := range c.Prefixes {
		if strings.Trim(p, "/") != p || p == "" {
			return wrong(fmt.Sprintf("prefixes[%d]", i), "%q: allowed are names of repositories, or the first parts of these", p)
		}
	}
	for _, n := range []struct {
		name  string
		value *int
		zero  int
	}{
		{"lanes", &c.Lanes, min(10, c.Activities/2)}, {"maxpending", &c.MaxPending, 16 << 10},
	} {
		if *n.value < 0 {
			return wrong(n.name, "%d: allowed are zero, for the default, and above", *n.value)
		}
		if *n.value == 0 {
			*n.value = n.zero
		}
	}
	if c.Lanes >= c.Activities {
		return wrong("lanes", "%d: allowed are those below activities, %d", c.Lanes, c.Activities)
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		zero  time.Duration
	}{
		{"backoff", &c.Backoff, 100 * time.Millisecond}, {"maxbackoff", &c.MaxBackoff, 10 * time.Second},
		{"saveinterval", &c.SaveInterval, time.Second}, {"grace", &c.Grace, 30 * time.Second},
	} {
		if *d.value < 0 {
			return wrong(d.name, "%v: allowed are zero, for the default, and above", *d.value)
		}
		if *d.value == 0 {
			*d.value = d.zero
		}
	}
	if c.Retries == 0 {
		c.Retries = 5
	}
	c.Retries = max(c.Retries, 0)
	if c.Logger == nil {
		c.Logger = logrus.NewEntry(logrus.StandardLogger())
	}
	return nil
}

func wrong(field, format string, args ...any) error {
	return fmt.Errorf("observer: %w", &notifications.ConfigError{Field: field, Err: fmt.Errorf(format, args...)})
}

// delay returns how long to wait after so many failures before: full jitter.
func (c *Config) delay(failures int) time.Duration {
	most := c.Backoff
	for range failures {
		if most >= c.MaxBackoff/2 {
			most = c.MaxBackoff
			break
		}
		most *= 2
	}
	return 1 + rand.N(min(most, c.MaxBackoff))
}
