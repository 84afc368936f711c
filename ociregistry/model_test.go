package ociregistry_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications/ociregistry"
)

// kinds are registries of different ways.
var kinds = []options{
	{}, {noRange: true}, {noDigest: true}, {location: "absolute"}, {location: "/elsewhere"}, {location: "/elsewhere?session="},
	{location: "/elsewhere?session=", noRange: true, noDigest: true},
}

// compare compares the events with what has happened, and says how much that was.
func (r *rig) compare() int {
	r.t.Helper()
	facts, told := r.history(), r.told()
	for i := range min(len(facts), len(told)) {
		// A part that failed can leave nobody sure of the size. It is not said then.
		if told[i].Size == 0 && r.muddled[facts[i].Digest] && facts[i].Type == "blob" {
			facts[i].Size = 0
		}
		require.Equal(r.t, facts[i], told[i], "event %d", i)
	}
	require.Equal(r.t, facts[min(len(facts), len(told)):], told[min(len(facts), len(told)):], "beyond the others")
	return len(facts)
}

// TestEventsAreWhatHasHappened has several clients do what they like, for long.
func TestEventsAreWhatHasHappened(t *testing.T) {
	const requests = 6000
	happened := make(map[string]int)
	for i, o := range kinds {
		r := newRig(t, o, Config{})
		chance := rand.New(rand.NewPCG(uint64(i), 6))
		play := r.inProcess(t)
		made, refused := 0, 0
		p := &player{pick: chance.IntN, fails: true, do: func(m move) got {
			g := play(m)
			made++
			if g.status >= 400 {
				refused++
			}
			return g
		}}
		for made < requests/len(kinds)+1 {
			p.step()
		}
		assert.Greater(t, r.compare(), made/8, "events of %d requests", made)
		assert.Greater(t, refused, made/8, "refused of %d requests", made)
		for _, e := range r.sink.Events() {
			happened[e.Action+" "+e.Target.Type]++
		}
	}
	for _, what := range []string{
		"push manifest", "push blob", "pull manifest", "pull blob", "mount blob", "delete manifest", "delete tag", "delete blob",
	} {
		assert.Greater(t, happened[what], 5, what)
	}
}

// FuzzUploads has several clients do what the input says.
func FuzzUploads(f *testing.F) {
	for seed := range uint64(8) {
		chance := rand.New(rand.NewPCG(seed, 6))
		input := make([]byte, 1500)
		for i := range input {
			input[i] = byte(chance.UintN(256))
		}
		f.Add(input)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, input []byte) {
		pick := func(n int) int {
			if len(input) == 0 {
				return 0
			}
			b := input[0]
			input = input[1:]
			return int(b) % n
		}
		r := newRig(t, kinds[pick(len(kinds))], Config{})
		p := &player{pick: pick, fails: true, do: r.inProcess(t)}
		for range 500 {
			if len(input) == 0 {
				break
			}
			p.step()
		}
		r.compare()
	})
}
