package observer

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
)

const (
	d1 digest.Digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	d2 digest.Digest = "sha256:2222222222222222222222222222222222222222222222222222222222222222"

	image = "application/vnd.oci.image.manifest.v1+json"
	index = "application/vnd.oci.image.index.v1+json"
	octet = "application/octet-stream"
)

// told is an event as the table has it.
func told(action, kind, mediaType string, dgst digest.Digest, tag string) *notifications.Event {
	e := event(action, kind, "app")
	e.Target.MediaType, e.Target.Digest, e.Target.Tag = mediaType, dgst, tag
	if dgst != "" && action != notifications.ActionDelete {
		e.Target.Size = 7
	}
	return e
}

func TestFold(t *testing.T) {
	const (
		push, pull, mount, del = notifications.ActionPush, notifications.ActionPull, notifications.ActionMount, notifications.ActionDelete
		manifest, blob         = notifications.TypeManifest, notifications.TypeBlob
		tag, repository        = notifications.TypeTag, notifications.TypeRepository
	)
	m1, m2 := map[digest.Digest]Manifest{d1: {image, 7}}, map[digest.Digest]Manifest{d2: {image, 7}}
	both := map[digest.Digest]Manifest{d1: {image, 7}, d2: {image, 7}}
	v1 := []*notifications.Event{told(push, manifest, image, d1, "v1")}
	after := func(events ...*notifications.Event) []*notifications.Event {
		return append(v1[:1:1], events...)
	}
	type tags = map[string]digest.Digest
	for _, test := range []struct {
		name   string
		events []*notifications.Event
		want   State
		quiet  bool // the last is nothing new
	}{
		{name: "push by tag", events: v1, want: State{Tags: tags{"v1": d1}, Manifests: m1}},
		{name: "push by digest", events: []*notifications.Event{told(push, manifest, image, d1, "")}, want: State{Manifests: m1}},
		{name: "push of a blob", events: []*notifications.Event{told(push, blob, octet, d1, "")}},
		{name: "push of a blob with the media type of a manifest", events: []*notifications.Event{told(push, blob, image, d1, "")}},
		{name: "mount", events: []*notifications.Event{told(mount, blob, octet, d1, "")}},
		{name: "pull", events: after(told(pull, manifest, image, d2, "v2")), want: State{Tags: tags{"v1": d1}, Manifests: m1}, quiet: true},
		{name: "push again", events: after(v1[0]), want: State{Tags: tags{"v1": d1}, Manifests: m1}},
		{name: "a tag moves", events: after(told(push, manifest, image, d2, "v1")), want: State{Tags: tags{"v1": d2}, Manifests: both}},
		{name: "two tags", events: after(told(push, manifest, image, d1, "v2")), want: State{Tags: tags{"v1": d1, "v2": d1}, Manifests: m1}},
		{name: "delete of a tag", events: after(told(del, tag, "", "", "v1")), want: State{Manifests: m1}},
		{name: "delete of a tag with its digest", events: after(told(del, tag, "", d1, "v1")), want: State{Manifests: m1}},
		{name: "delete of another tag", events: after(told(del, tag, "", "", "v2")), want: State{Tags: tags{"v1": d1}, Manifests: m1}},
		{
			name:   "delete of a manifest takes its tags, and no other",
			events: after(told(push, manifest, image, d1, "v2"), told(push, manifest, image, d2, "v3"), told(del, manifest, "", d1, "")),
			want:   State{Tags: tags{"v3": d2}, Manifests: m2},
		},
		{
			name:   "and its tags are told, before or after",
			events: after(told(del, tag, "", "", "v1"), told(del, manifest, "", d1, ""), told(del, tag, "", "", "v1")),
		},
		{
			name:   "delete of a manifest that a tag has left",
			events: after(told(push, manifest, image, d2, "v1"), told(del, manifest, "", d1, "")),
			want:   State{Tags: tags{"v1": d2}, Manifests: m2},
		},
		{name: "delete of a manifest nobody knows", events: after(told(del, manifest, "", d2, "")), want: State{Tags: tags{"v1": d1}, Manifests: m1}},
		{name: "delete of a blob", events: after(told(del, blob, "", d1, "")), want: State{Tags: tags{"v1": d1}, Manifests: m1}},
		{name: "delete of the repository", events: after(told(del, repository, "", "", "")), want: State{Deleted: true}},
		{
			name:   "push after that",
			events: after(told(del, repository, "", "", ""), told(push, manifest, image, d2, "v2")),
			want:   State{Tags: tags{"v2": d2}, Manifests: m2},
		},
		{name: "mount after that", events: after(told(del, repository, "", "", ""), told(mount, blob, octet, d1, ""))},
		{name: "freeze", events: after(told(ActionFreeze, repository, "", "", "")), want: State{Tags: tags{"v1": d1}, Manifests: m1, Frozen: true}},
		{
			name:   "unfreeze",
			events: after(told(ActionFreeze, repository, "", "", ""), told(ActionUnfreeze, repository, "", "", "")),
			want:   State{Tags: tags{"v1": d1}, Manifests: m1},
		},
		{
			name:   "what is deleted is not frozen",
			events: after(told(ActionFreeze, repository, "", "", ""), told(del, repository, "", "", "")),
			want:   State{Deleted: true},
		},
		{name: "an action of a server's own", events: after(told("audit", repository, "", "", "")), want: State{Tags: tags{"v1": d1}, Manifests: m1}},
		{name: "push without a digest", events: []*notifications.Event{told(push, manifest, image, "", "v1")}},

		{name: "untyped push of a manifest", events: []*notifications.Event{told(push, "", image, d1, "v1")}, want: State{Tags: tags{"v1": d1}, Manifests: m1}},
		{
			name:   "untyped push of an index",
			events: []*notifications.Event{told(push, "", index, d1, "")},
			want:   State{Manifests: map[digest.Digest]Manifest{d1: {index, 7}}},
		},
		{
			name:   "untyped push of Docker's, and of what has a tag",
			events: []*notifications.Event{told(push, "", "application/vnd.docker.distribution.manifest.list.v2+json", d1, ""), told(push, "", "application/json", d2, "v1")},
			want: State{Tags: tags{"v1": d2}, Manifests: map[digest.Digest]Manifest{
				d1: {"application/vnd.docker.distribution.manifest.list.v2+json", 7}, d2: {"application/json", 7},
			}},
		},
		{name: "untyped push of a blob", events: []*notifications.Event{told(push, "", octet, d1, "")}},
		{name: "untyped delete of a tag", events: after(told(del, "", "", "", "v1")), want: State{Manifests: m1}},
		{name: "untyped delete of a manifest", events: after(told(del, "", "", d1, ""))},
		{name: "untyped delete of a blob", events: after(told(del, "", "", d2, "")), want: State{Tags: tags{"v1": d1}, Manifests: m1}},
		{name: "untyped delete of the repository", events: after(told(del, "", "", "", "")), want: State{Deleted: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s State
			var news bool
			for _, e := range test.events {
				news = s.fold(e)
			}
			last := test.events[len(test.events)-1]
			test.want.Last = Last{last.ID, last.Action, last.Timestamp}
			assert.JSONEq(t, encoded(t, &test.want), encoded(t, &s))
			assert.Equal(t, !test.quiet, news)
		})
	}
}

func encoded(t testing.TB, s *State) string {
	t.Helper()
	b, err := json.Marshal(s)
	require.NoError(t, err)
	return string(b)
}

func TestNow(t *testing.T) {
	assert.Equal(t, Enabled, (&State{}).now())
	assert.Equal(t, Frozen, (&State{Frozen: true}).now())
	assert.Equal(t, Disabled, (&State{Deleted: true}).now())
	assert.Equal(t, Disabled, (&State{Deleted: true, Frozen: true}).now())
}

// TestFoldWhatRegistriesSend: what distribution 2.8.2 and 3.1.2 have sent, which say the type
// of nothing.
func TestFoldWhatRegistriesSend(t *testing.T) {
	for _, version := range []string{"2.8.2", "3.1.2"} {
		states := make(map[string]*State)
		var before *State // of library/app, before the last two: its deletes
		events := sent(t, version)
		require.Len(t, events, 11)
		for i, e := range events {
			name := e.Target.Repository
			if states[name] == nil {
				states[name] = &State{Repository: Repository{"r", name}}
			}
			if i == 9 {
				before = new(State)
				require.NoError(t, json.Unmarshal([]byte(encoded(t, states["library/app"])), before))
			}
			assert.Equal(t, e.Action != notifications.ActionPull, states[name].fold(e))
		}
		assert.Equal(t, "map[v1:50c652]", short(before), "library/app of "+version)
		assert.Len(t, before.Manifests, 1)

		app, index := states["library/app"], states["library/index"]
		assert.Empty(t, app.Tags)
		assert.Empty(t, app.Manifests)
		assert.False(t, app.Deleted)
		assert.Equal(t, "map[v1:b20dfb]", short(index))
		assert.Len(t, index.Manifests, 2)
		assert.Len(t, states, 3)
		assert.Empty(t, states["other/app"].Manifests)
	}
}

// short shows where tags point to.
func short(s *State) string {
	tags := make(map[string]string)
	for tag, d := range s.Tags {
		tags[tag] = d.Encoded()[:6]
	}
	return fmt.Sprint(tags)
}

// sent is what a version of distribution has sent.
func sent(t *testing.T, version string) (events []*notifications.Event) {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "testdata", "captured", "envelopes-distribution-"+version+".jsonl"))
	require.NoError(t, err)
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var request struct{ Body string }
		require.NoError(t, json.Unmarshal(lines.Bytes(), &request))
		var envelope notifications.Envelope
		require.NoError(t, json.Unmarshal([]byte(request.Body), &envelope))
		events = append(events, envelope.Events...)
	}
	require.NoError(t, lines.Err())
	return events
}

// chanceEvent is any event of a repository, often about what was there before, of senders with
// and without types.
func chanceEvent(r *rand.Rand) *notifications.Event {
	actions := []string{
		notifications.ActionPush, notifications.ActionPush, notifications.ActionPush, notifications.ActionPull, notifications.ActionMount,
		notifications.ActionDelete, notifications.ActionDelete, notifications.ActionDelete, ActionFreeze, ActionUnfreeze, notifications.ActionRename, "audit",
	}
	kinds := []string{"", notifications.TypeManifest, notifications.TypeManifest, notifications.TypeBlob, notifications.TypeTag, notifications.TypeRepository}
	e := told(actions[r.IntN(len(actions))], kinds[r.IntN(len(kinds))], []string{image, octet, index, ""}[r.IntN(4)], "", "")
	if r.IntN(4) > 0 {
		e.Target.Digest = digest.FromString(fmt.Sprint(r.IntN(4)))
		e.Target.Size = r.Int64N(3)
	}
	if r.IntN(3) > 0 {
		e.Target.Tag = fmt.Sprint("v", r.IntN(4))
	}
	return e
}

// TestFoldAgain: to fold once more what came last, from whichever event on, and whatever was
// folded twice before, leads to the same state. After a crash this is what happens: states are
// stored with more in them than their position says.
func TestFoldAgain(t *testing.T) {
	for seed := range uint64(20_000) {
		r := rand.New(rand.NewPCG(seed, 1))
		events := make([]*notifications.Event, 1+r.IntN(16))
		var s State
		for i := range events {
			events[i] = chanceEvent(r)
			s.fold(events[i])
		}
		want := encoded(t, &s)
		for range 3 { // and after another crash
			at, to := r.IntN(len(events)), 1+r.IntN(len(events))
			for _, e := range events[at:max(at, to)] {
				s.fold(e) // until it crashed again
			}
			for _, e := range events[at:] {
				s.fold(e)
			}
			require.Equal(t, want, encoded(t, &s), "seed %d, from %d on", seed, at)
		}
	}
}

func TestStateRoundTrip(t *testing.T) {
	full := State{
		Repository: Repository{"feed", "team/app"},
		Tags:       map[string]digest.Digest{"v1": d1, "<&>": d2}, Manifests: map[digest.Digest]Manifest{d1: {image, 7}, d2: {}},
		Deleted: true, Frozen: true, Last: Last{"id", "push", time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)}, Position: 1<<64 - 1,
		Error: "näh: \"\n", Initialized: true, Told: Frozen,
	}
	assert.Equal(t, `{"feed":"feed","name":"team/app","tags":{"\u003c\u0026\u003e":"`+string(d2)+`","v1":"`+string(d1)+`"},`+
		`"manifests":{"`+string(d1)+`":{"mediaType":"`+image+`","size":7},"`+string(d2)+`":{}},"deleted":true,"frozen":true,`+
		`"last":{"id":"id","action":"push","time":"2026-01-02T03:04:05.000000006Z"},"position":18446744073709551615,`+
		`"error":"näh: \"\n","initialized":true,"told":"frozen"}`, encoded(t, &full))
	for _, s := range []State{full, {}, {Repository: Repository{"f", "n"}, Position: 1}} {
		var got State
		require.NoError(t, json.Unmarshal([]byte(encoded(t, &s)), &got))
		assert.Equal(t, s, got)
	}
	assert.Equal(t, `{"feed":"f","name":"n","last":{},"position":1}`, encoded(t, &State{Repository: Repository{"f", "n"}, Position: 1}))

	tomb := full.released()
	assert.Equal(t, &State{Repository: full.Repository, Deleted: true, Last: full.Last, Position: full.Position, Initialized: true, Told: Frozen}, tomb)
}

func TestWord(t *testing.T) {
	for w := range words {
		assert.Equal(t, w, word(w))
	}
	assert.Equal(t, "application/x-other", word("application/x-other"))
}
