package clients

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
)

// event is what a client's doing makes a registry report, as far as it can be known
// before.
type event struct {
	action, kind, repository, from, tag string
	digest                              digest.Digest
	mediaType                           string
	size                                int64
}

func eventOf(e *notifications.Event) event {
	t := e.Target
	return event{
		action: e.Action, kind: t.Type, repository: t.Repository, from: t.FromRepository, tag: t.Tag,
		digest: t.Digest, mediaType: t.MediaType, size: t.Size,
	}
}

// String says it in words.
func (e event) String() string {
	s := e.action + " of the " + e.kind + " " + e.repository
	if e.tag != "" {
		s += ":" + e.tag
	}
	if e.digest != "" {
		s += fmt.Sprintf("@%.12s", e.digest.Encoded())
	}
	if e.from != "" {
		s += " from " + e.from
	}
	if e.mediaType != "" || e.size != 0 {
		s += fmt.Sprintf(" (%s, %d bytes)", e.mediaType, e.size)
	}
	return s
}

// group is events that come in no particular order. Of several groups each comes when
// the one before it is complete. That holds for whatever a client has waited for before it
// went on, but not for large downloads: net/http sends these while the server is still at
// work, and so the event may come behind that of the next request. A large blob is in the
// last group of its step.
type group []event

// compare says in words how what came differs from what was expected.
func compare(want []group, came []event) error {
	expected := make(map[event]int)
	for _, g := range want {
		for _, e := range g {
			expected[e]++
		}
	}
	var errs []error
	for _, e := range came {
		if expected[e] == 0 {
			errs = append(errs, fmt.Errorf("too many: %v", e))
			continue
		}
		expected[e]--
	}
	for _, g := range want {
		for _, e := range g {
			if expected[e] > 0 {
				expected[e]--
				errs = append(errs, fmt.Errorf("missing:  %v", e))
			}
		}
	}
	if len(errs) > 0 {
		return errors.Join(append(errs, listed("all that came", came))...)
	}

	rest := came
	for _, g := range want {
		now := rest[:len(g)]
		rest = rest[len(g):]
		for _, e := range g {
			if !slices.Contains(now, e) {
				errs = append(errs, fmt.Errorf("too late: %v", e))
			}
		}
	}
	if len(errs) > 0 {
		return errors.Join(append(errs, listed("in the order in which they came", came))...)
	}
	return nil
}

func listed(title string, events []event) error {
	var b strings.Builder
	b.WriteString(title + ":")
	for _, e := range events {
		b.WriteString("\n  " + e.String())
	}
	return errors.New(b.String())
}

func TestCompare(t *testing.T) {
	blob := event{action: "push", kind: "blob", repository: "a", digest: digest.FromString("x"), mediaType: octets, size: 1}
	other := event{action: "mount", kind: "blob", repository: "a", from: "b"}
	manifest := event{action: "push", kind: "manifest", repository: "a", tag: "v1"}
	for name, c := range map[string]struct {
		want []group
		came []event
		says string
	}{
		"nothing":          {nil, nil, ""},
		"in any order":     {[]group{{blob, other}, {manifest}}, []event{other, blob, manifest}, ""},
		"an empty group":   {[]group{nil, {blob}}, []event{blob}, ""},
		"twice":            {[]group{{blob, blob}}, []event{blob, blob}, ""},
		"once too often":   {[]group{{blob}}, []event{blob, blob}, "too many: push of the blob a@2d711642b726 (application/octet-stream, 1 bytes)\n"},
		"once too seldom":  {[]group{{blob, blob}}, []event{blob}, "missing:  push of the blob a@2d711642b726 (application/octet-stream, 1 bytes)\n"},
		"another":          {[]group{{manifest}}, []event{other}, "too many: mount of the blob a from b\nmissing:  push of the manifest a:v1\nall that came:\n  mount of the blob a from b"},
		"too late":         {[]group{{blob}, {manifest}}, []event{manifest, blob}, "too late: push of the blob a@2d711642b726 (application/octet-stream, 1 bytes)\n"},
		"not for one time": {[]group{{blob}, {manifest}, {blob}}, []event{blob, blob, manifest}, "too late: push of the manifest a:v1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			err := compare(c.want, c.came)
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.says)
		})
	}
}
