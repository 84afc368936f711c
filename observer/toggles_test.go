package observer

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/registry-notifications/notifications"
)

// TestToggles: whatever was done and undone a thousand times before the start, makes one
// call, for what is true in the end.
func TestToggles(t *testing.T) {
	own := func(action string) func() *notifications.Event {
		return func() *notifications.Event { return event(action, notifications.TypeRepository, "a") }
	}
	tagged := func() *notifications.Event { return push("a", "v1") }
	gone := func() *notifications.Event { return removed("a") }
	there := func() *notifications.Event { return rename("a", "b") }
	back := func() *notifications.Event { return rename("b", "a") }
	for _, c := range []struct {
		name         string
		one, another func() *notifications.Event
		first, then  string // call at the first start, and at one that knows the repository
	}{
		{"pushed and deleted", tagged, gone, "disable a", "disable a"},
		{"deleted and pushed", gone, tagged, "enable a", "enable a"},
		{"frozen and not", own(ActionFreeze), own(ActionUnfreeze), "enable a", "enable a"},
		{"not frozen, and frozen", own(ActionUnfreeze), own(ActionFreeze), "freeze a", "freeze a"},
		{"a tag moved", tagged, tagged, "enable a", "enable a"},
		{"there and back", there, back, "enable a", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			toggle := func(r *rig) {
				for range 1000 {
					r.write(c.one(), c.another())
				}
			}
			r := newRig(t)
			r.write(push("a", "v0"))
			toggle(r)
			assert.Equal(t, []string{c.first}, r.runs())
			if c.then == "" {
				return // what was enabled under one name is released there, in any case
			}
			r = newRig(t)
			r.write(push("a", "v0"))
			assert.Equal(t, []string{"enable a"}, r.runs())
			toggle(r)
			assert.Equal(t, []string{c.then}, r.runs())
			assert.Empty(t, r.runs())
		})
	}
}
