package observer

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

// TestAppendJSON: what is written by hand is what encoding/json writes, and it is read back as
// it was; with one entry in each map there is no order to differ in.
func TestAppendJSON(t *testing.T) {
	random := chance(t)
	text := func() string {
		return []string{"", "v1", "team/app", `"quoted" \ <&>`, "zwölf", "\x00\n", "\xff", "sha256:" + string(digest.FromString("a").Encoded())}[random.IntN(8)]
	}
	flag := func() bool { return random.IntN(2) == 0 }
	for range 20_000 {
		s := &State{
			Repository: Repository{text(), text()}, Deleted: flag(), Frozen: flag(),
			Last: Last{ID: text(), Action: text()}, Position: random.Uint64(),
			Error: text(), Initialized: flag(), Told: Told(text()), Untold: flag(),
		}
		if flag() {
			s.Last.Time = time.Unix(random.Int64N(1<<40), random.Int64N(1e9)).In([]*time.Location{time.UTC, time.FixedZone("", 3600)}[random.IntN(2)])
		}
		if flag() {
			s.Tags = map[string]digest.Digest{text(): digest.Digest(text())}
		}
		if flag() {
			s.Manifests = map[digest.Digest]Manifest{digest.Digest(text()): {text(), random.Int64N(3) - 1}}
		}
		got := string(s.appendJSON(nil))
		want, err := json.Marshal(s)
		if err != nil { // a year that is none
			s.Last.Time = time.Time{}
			want, err = json.Marshal(s)
		}
		require.NoError(t, err)
		require.Equal(t, string(want), got)
	}
	s := &State{Repository: Repository{"r", "team/app"}}
	for range 100 {
		e := push("team/app", string(rune('a'+rand.IntN(26))))
		s.fold(e)
	}
	var back State
	require.NoError(t, json.Unmarshal(s.appendJSON(nil), &back))
	require.Equal(t, *s, back)
}
