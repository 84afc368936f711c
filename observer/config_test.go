package observer

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

func needed() Config {
	return Config{Feeds: map[string]notifications.Feed{"r": new(sinktest.Feed)}, Store: new(memory), Processor: new(diary)}
}

func TestConfigIsWrong(t *testing.T) {
	feed := new(sinktest.Feed)
	for _, test := range []struct {
		change func(*Config)
		field  string
		says   string
	}{
		{func(c *Config) { c.Feeds = nil }, "feeds", "none: allowed are one and more"},
		{func(c *Config) { c.Feeds = map[string]notifications.Feed{"": feed} }, "feeds", `"": allowed are names in UTF-8, without a slash, of feeds that are not nil`},
		{func(c *Config) { c.Feeds = map[string]notifications.Feed{"a": feed, "b/c": feed} }, "feeds", `"b/c": allowed are names`},
		{func(c *Config) { c.Feeds = map[string]notifications.Feed{"\xff": feed} }, "feeds", `"\xff": allowed are names`},
		{func(c *Config) { c.Feeds = map[string]notifications.Feed{"a": nil} }, "feeds", `"a": allowed are names`},
		{func(c *Config) { c.Store = nil }, "store", "nil: is needed"},
		{func(c *Config) { c.Processor = nil }, "processor", "nil: is needed"},
		{func(c *Config) { c.Prefixes = []string{"team", ""} }, "prefixes[1]", `"": allowed are names of repositories, or the first parts of these`},
		{func(c *Config) { c.Prefixes = []string{"/team"} }, "prefixes[0]", `"/team": allowed are`},
		{func(c *Config) { c.Prefixes = []string{"team/"} }, "prefixes[0]", `"team/": allowed are`},
		{func(c *Config) { c.Activities = -1 }, "activities", "-1: allowed are zero, for the default, and two and above"},
		{func(c *Config) { c.Activities = 1 }, "activities", "1: allowed are zero, for the default, and two and above"},
		{func(c *Config) { c.Lanes = -2 }, "lanes", "-2: allowed are zero, for the default, and above"},
		{func(c *Config) { c.Lanes = 20 }, "lanes", "20: allowed are those below activities, 20"},
		{func(c *Config) { c.Activities, c.Lanes = 5, 7 }, "lanes", "7: allowed are those below activities, 5"},
		{func(c *Config) { c.MaxPending = -3 }, "maxpending", "-3: allowed are zero, for the default, and above"},
		{func(c *Config) { c.Backoff = -time.Second }, "backoff", "-1s: allowed are zero, for the default, and above"},
		{func(c *Config) { c.MaxBackoff = -1 }, "maxbackoff", "-1ns: allowed are zero, for the default, and above"},
		{func(c *Config) { c.SaveInterval = -time.Hour }, "saveinterval", "-1h0m0s: allowed are zero, for the default, and above"},
		{func(c *Config) { c.Grace = -1 }, "grace", "-1ns: allowed are zero, for the default, and above"},
	} {
		t.Run(test.field+" "+test.says, func(t *testing.T) {
			c := needed()
			test.change(&c)
			o, err := New(c)
			assert.Nil(t, o)
			var wrong *notifications.ConfigError
			require.ErrorAs(t, err, &wrong)
			assert.Equal(t, test.field, wrong.Field)
			assert.Contains(t, wrong.Err.Error(), test.says)
			assert.Equal(t, "observer: "+test.field+": "+wrong.Err.Error(), err.Error())
		})
	}
}

func TestConfigDefaults(t *testing.T) {
	o, err := New(needed())
	require.NoError(t, err)
	c := o.config
	assert.Equal(t, []int{20, 10, 5, 16 << 10}, []int{c.Activities, c.Lanes, c.Retries, c.MaxPending})
	assert.Equal(t, []time.Duration{100 * time.Millisecond, 10 * time.Second, time.Second, 30 * time.Second}, []time.Duration{c.Backoff, c.MaxBackoff, c.SaveInterval, c.Grace})
	assert.Same(t, logrus.StandardLogger(), c.Logger.Logger)
	assert.Equal(t, []int{20, 10}, []int{o.engine.limit, o.engine.lanes})

	for activities, lanes := range map[int]int{2: 1, 3: 1, 8: 4, 65: 10} {
		given := needed()
		given.Activities, given.Retries = activities, -1
		o, err := New(given)
		require.NoError(t, err)
		assert.Equal(t, lanes, o.config.Lanes, "of %d", activities)
		assert.Zero(t, o.config.Retries)
	}
	given := needed()
	given.Activities, given.Lanes = 65, 64
	_, err = New(given)
	require.NoError(t, err)
}

// TestConfigIsCopied: what the caller changes afterwards changes nothing.
func TestConfigIsCopied(t *testing.T) {
	c := needed()
	c.Prefixes = []string{"team"}
	o, err := New(c)
	require.NoError(t, err)
	c.Prefixes[0] = "other"
	delete(c.Feeds, "r")
	assert.True(t, o.observes("team/app"))
	assert.Len(t, o.config.Feeds, 1)
}

func TestPrefixes(t *testing.T) {
	for _, test := range []struct {
		prefixes, yes, no string
	}{
		{"", "a a/b team", ""},
		{"team", "team team/app team/app/x", "teams tea te/am other other/team Team"},
		{"team/app b", "team/app team/app/x b b/team/app", "team team/apps team/ap bb"},
		{"a a/b", "a a/b a/c", "b"},
	} {
		c := needed()
		c.Prefixes = strings.Fields(test.prefixes)
		o, err := New(c)
		require.NoError(t, err)
		for _, name := range strings.Fields(test.yes) {
			assert.True(t, o.observes(name), "%q: %s", test.prefixes, name)
		}
		for _, name := range append(strings.Fields(test.no), "") {
			assert.Equal(t, len(c.Prefixes) == 0, o.observes(name), "%q: %s", test.prefixes, name)
		}
	}
}

// TestDelay: it doubles, is by chance, and neither overflows nor is it ever nothing.
func TestDelay(t *testing.T) {
	for _, test := range []struct {
		backoff, most time.Duration
		failures      int
		want          time.Duration
	}{
		{100 * time.Millisecond, 10 * time.Second, 0, 100 * time.Millisecond},
		{100 * time.Millisecond, 10 * time.Second, 3, 800 * time.Millisecond},
		{100 * time.Millisecond, 10 * time.Second, 6, 6400 * time.Millisecond},
		{100 * time.Millisecond, 10 * time.Second, 7, 10 * time.Second},
		{100 * time.Millisecond, 10 * time.Second, math.MaxInt, 10 * time.Second},
		{time.Hour, time.Second, 0, time.Second},
		{1, math.MaxInt64 - 1, 100, math.MaxInt64 - 1},
		{1, 1, 5, 1},
	} {
		c := Config{Backoff: test.backoff, MaxBackoff: test.most}
		var longest time.Duration
		for range 200 {
			d := c.delay(test.failures)
			require.Positive(t, d)
			longest = max(longest, d)
		}
		assert.LessOrEqual(t, longest, test.want)
		assert.GreaterOrEqual(t, longest, test.want/2, "%+v", test)
	}
}

func TestCut(t *testing.T) {
	for given, want := range map[string]string{
		"":                              "\ufffd",
		"short":                         "short",
		strings.Repeat("a", 120):        strings.Repeat("a", 120),
		strings.Repeat("a", 121):        strings.Repeat("a", 120),
		strings.Repeat("世", 121):        strings.Repeat("世", 120),
		strings.Repeat("😀", 1000):       strings.Repeat("😀", 120),
		strings.Repeat("a", 119) + "😀b": strings.Repeat("a", 119) + "😀",
		"a\xffb":                        "a\ufffdb",
		"\xe4\xb8":                      "\ufffd\ufffd", // a part of one
		strings.Repeat("\xff", 500):     strings.Repeat("\ufffd", 120),
		strings.Repeat("a", 119) + "\xe4\xb8\x96\xe4": strings.Repeat("a", 119) + "世",
		"two\nlines\x00": "two\nlines\x00",
	} {
		got := cut(given)
		assert.Equal(t, want, got)
		assert.True(t, utf8.ValidString(got))
	}
}

func FuzzCut(f *testing.F) {
	f.Add("")
	f.Add(strings.Repeat("ä", 119) + "\xe4\xb8\x96")
	f.Fuzz(func(t *testing.T, message string) {
		got := cut(message)
		n := utf8.RuneCountInString(got)
		if !utf8.ValidString(got) || n == 0 || n > 120 {
			t.Fatalf("%q: %q, of %d", message, got, n)
		}
		if whole := utf8.ValidString(message) && message != ""; whole && (!strings.HasPrefix(message, got) || n < min(120, utf8.RuneCountInString(message))) {
			t.Fatalf("%q: %q, of %d", message, got, n)
		}
	})
}

func TestFeedError(t *testing.T) {
	err := error(&FeedError{"r", fmt.Errorf("read: %w", notifications.ErrSinkClosed)})
	assert.EqualError(t, err, `observer: feed "r": read: `+notifications.ErrSinkClosed.Error())
	assert.True(t, errors.Is(err, notifications.ErrSinkClosed))
}
