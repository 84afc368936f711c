package notifications_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

func TestFilter(t *testing.T) {
	push := func(repository, mediaType string) *Event {
		e := NewEvent(ActionPush)
		e.Target.Repository, e.Target.MediaType = repository, mediaType
		return e
	}
	rename := NewEvent(ActionRename)
	rename.Target.Repository, rename.Target.FromRepository = "new/app", "old/app"
	mount := push("team/app", "blob")
	mount.Action, mount.Target.FromRepository = ActionMount, "old/app"

	only := func(r Rules) Filter { return Filter{Only: r} }
	ignore := func(r Rules) Filter { return Filter{Ignore: r} }
	repos := func(names ...string) Rules { return Rules{Repositories: names} }
	for _, c := range []struct {
		name   string
		filter Filter
		event  *Event
		passes bool
	}{
		{"ignored media type", ignore(Rules{MediaTypes: []string{"a", "b"}}), push("x", "b"), false},
		{"another media type", ignore(Rules{MediaTypes: []string{"a"}}), push("x", "b"), true},
		{"no media type", ignore(Rules{MediaTypes: []string{"a"}}), push("x", ""), true},
		{"ignored action", ignore(Rules{Actions: []string{"pull", "push"}}), push("x", ""), false},
		{"another action", ignore(Rules{Actions: []string{"pull"}}), push("x", ""), true},
		{"only this media type", only(Rules{MediaTypes: []string{"a"}}), push("x", "a"), true},
		{"only another media type", only(Rules{MediaTypes: []string{"a"}}), push("x", ""), false},
		{"only this action", only(Rules{Actions: []string{"push"}}), push("x", ""), true},
		{"only, all of the lists", only(Rules{Actions: []string{"push"}, Repositories: []string{"y"}}), push("x", ""), false},
		{"ignore beats only", Filter{Only: repos("team/**"), Ignore: repos("team/secret")}, push("team/secret", ""), false},
		{"ignore, any of the lists", ignore(Rules{Actions: []string{"pull"}, Repositories: []string{"x"}}), push("x", ""), false},
		{"repository by name", only(repos("team/app")), push("team/app", ""), true},
		{"no prefix", only(repos("team")), push("team/app", ""), false},
		{"no suffix", only(repos("app")), push("team/app", ""), false},
		{"star", only(repos("team/*")), push("team/app", ""), true},
		{"star ends at a slash", only(repos("team/*")), push("team/app/x", ""), false},
		{"two stars do not", only(repos("team/**")), push("team/app/x", ""), true},
		{"star in the middle", only(repos("*/app")), push("team/app", ""), true},
		{"question mark", only(repos("team/ap?")), push("team/app", ""), true},
		{"question mark is no slash", only(repos("team?app")), push("team/app", ""), false},
		{"a dot is a dot", only(repos("a.b*")), push("axb", ""), false},
		{"several", only(repos("x", "y*", "z")), push("z", ""), true},
		{"a second pattern is anchored too", only(repos("y*", "z*")), push("az", ""), false},
		{"rename to", only(repos("new/*")), rename, true},
		{"rename from", only(repos("old/*")), rename, true},
		{"rename elsewhere", only(repos("other/*")), rename, false},
		{"mounted from elsewhere", only(repos("old/*")), mount, false},
		{"no repository", only(repos("**")), push("", ""), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := new(sinktest.Fake)
			s, err := NewFilter(f, c.filter)
			require.NoError(t, err)
			require.NoError(t, s.Write(t.Context(), c.event))
			assert.Len(t, f.Events(), map[bool]int{true: 1}[c.passes])
		})
	}
}

func TestFilterWithNothingToDo(t *testing.T) {
	f := new(sinktest.Fake)
	s, err := NewFilter(f, Filter{})
	require.NoError(t, err)
	assert.Same(t, f, s)
}

func TestFilterBadInput(t *testing.T) {
	for want, f := range map[string]Filter{
		`ignore.mediatypes[1]: ""`:    {Ignore: Rules{MediaTypes: []string{"a", ""}}},
		`only.actions[0]: " push"`:    {Only: Rules{Actions: []string{" push"}}},
		`only.repositories[0]: "a[b"`: {Only: Rules{Repositories: []string{"a[b"}}},
	} {
		_, err := NewFilter(new(sinktest.Fake), f)
		assert.ErrorContains(t, err, want)
		assert.ErrorContains(t, err, "allowed")
	}
	_, err := NewFilter(nil, Filter{})
	assert.ErrorContains(t, err, "nil")
}

// TestFilterDeliver settles a block of which the sink takes some, for every
// pattern of seven events that pass (1) or not (0), and every number taken.
func TestFilterDeliver(t *testing.T) {
	for pattern := range 1 << 7 {
		for most := 1; most <= 7; most++ {
			p := &sinktest.Partial{Most: most}
			s, err := NewFilter(p, Filter{Ignore: Rules{Actions: []string{"ignored"}}})
			require.NoError(t, err)

			var text strings.Builder
			events := sinktest.Events("e", 7)
			var want []*Event
			for i, e := range events {
				if pattern>>i&1 == 0 {
					e.Action = "ignored"
					text.WriteByte('0')
					continue
				}
				text.WriteByte('1')
				want = append(want, e)
			}

			for rest := events; len(rest) > 0; {
				n, err := s.(Deliverer).Deliver(t.Context(), rest...)
				require.True(t, err == nil || n < len(rest), "%s most %d: %d settled, %v", &text, most, n, err)
				require.Positive(t, n)
				rest = rest[n:]
			}
			require.Equal(t, sinktest.IDs(want), sinktest.IDs(p.Events()), "%s most %d", &text, most)
		}
	}
}

func TestFilterSettlesNothingOnError(t *testing.T) {
	f := new(sinktest.Fake)
	f.Fail(-1, errors.New("boom"))
	s, err := NewFilter(f, Filter{Ignore: Rules{Actions: []string{"ignored"}}})
	require.NoError(t, err)
	events := sinktest.Events("e", 4)
	events[0].Action, events[1].Action, events[3].Action = "ignored", "ignored", "ignored"
	n, err := s.(Deliverer).Deliver(t.Context(), events...)
	assert.Error(t, err)
	assert.Equal(t, 2, n, "what was filtered out in front of the event that failed")
}

// TestImages: what is left is one event for each image.
func TestImages(t *testing.T) {
	f := new(sinktest.Fake)
	filtered, err := NewFilter(f, Filter{Images: true, Ignore: Rules{Repositories: []string{"cache/**"}}})
	require.NoError(t, err)
	for _, e := range []struct {
		action string
		target Target
		passes bool
	}{
		{ActionPush, Target{Type: TypeManifest, Tag: "v1"}, true},
		{ActionPush, Target{Tag: "v1"}, true}, // of a sender that does not say what it is
		{ActionPush, Target{Type: TypeManifest}, false},
		{ActionPush, Target{Type: TypeBlob}, false},
		{ActionPull, Target{Type: TypeManifest, Tag: "v1"}, true},
		{ActionPull, Target{Type: TypeManifest}, false},
		{ActionPull, Target{Type: TypeBlob}, false},
		{ActionMount, Target{Type: TypeBlob}, false},
		{ActionDelete, Target{Type: TypeTag, Tag: "v1"}, true},
		{ActionDelete, Target{Tag: "v1"}, true},
		{ActionDelete, Target{Type: TypeManifest}, false},
		{ActionDelete, Target{Type: TypeRepository}, false},
		{ActionRename, Target{Type: TypeRepository}, false},
		{ActionPush, Target{Type: TypeManifest, Tag: "v1", Repository: "cache/app"}, false},
	} {
		before := len(f.Events())
		event := NewEvent(e.action)
		event.Target = e.target
		require.NoError(t, filtered.Write(t.Context(), event))
		assert.Equal(t, e.passes, len(f.Events()) > before, "%s %+v", e.action, e.target)
	}
}
