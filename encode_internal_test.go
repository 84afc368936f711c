package notifications

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const aDigest = digest.Digest("sha256:50c6529f23ff8ac3b5b7a03b56326af72f4f2823029d70d151137a45871d410b")

// typicalEvent is the push of a manifest.
func typicalEvent() *Event {
	return &Event{
		ID:        "01a1fd8b-739e-7275-819a-4fbebed47fa7",
		Timestamp: time.Date(2026, 11, 21, 9, 58, 57, 182161579, time.UTC),
		Action:    ActionPush,
		Target: Target{
			Type: TypeManifest, MediaType: v1.MediaTypeImageManifest, Digest: aDigest, Size: 403,
			Repository: "library/app", Tag: "v1",
			URL: "https://registry.example.org/v2/library/app/manifests/" + aDigest.String(),
		},
		Request: RequestRecord{
			ID: "01a1fd8b-7395-7d1e-84ef-dcb3265984e6", Addr: "127.0.0.1:42002", Host: "registry.example.org",
			Method: "PUT", UserAgent: "crane/v0.22.1 go-containerregistry/v0.22.1",
		},
		Actor:  ActorRecord{Name: "alice"},
		Source: SourceRecord{Addr: "registry.local:5101", InstanceID: "01a1fd8b-6bf8-731f-a50e-277073ba0afc"},
	}
}

// withReferences is what a bridge makes of a manifest if it includes what that
// refers to.
func withReferences() *Event {
	e := typicalEvent()
	e.Target.References = []distribution.Descriptor{
		{MediaType: v1.MediaTypeImageConfig, Digest: aDigest, Size: 233},
		{MediaType: v1.MediaTypeImageLayerGzip, Digest: aDigest, Size: 20277},
		{},
	}
	return e
}

// fullEvent has every field, and every field of a descriptor.
func fullEvent() *Event {
	e := typicalEvent()
	t := &e.Target
	t.FromRepository, t.ArtifactType = "library/base", "application/vnd.example+type"
	t.Annotations = map[string]string{"b": "2", "a": "1", "": "", "z": "3", "\xff": "4"}
	t.Platform = &v1.Platform{Architecture: "arm64", OS: "linux", OSVersion: "10", OSFeatures: []string{"f", ""}, Variant: "v8"}
	t.URLs = []string{"https://example.org/a", "", "b"}
	t.Data = []byte("any data")
	t.References = []distribution.Descriptor{
		{
			MediaType: v1.MediaTypeImageManifest, Digest: aDigest, Size: 1, URLs: t.URLs, Annotations: t.Annotations,
			Data: t.Data, Platform: t.Platform, ArtifactType: t.ArtifactType,
		},
		{Size: -1, Platform: new(v1.Platform), URLs: []string{}, Annotations: map[string]string{}, Data: []byte{}},
	}
	return e
}

// stringsOf is every place in e that has a string, those inside of slices too.
func stringsOf(e *Event) []*string {
	t, r := &e.Target, &e.Request
	all := []*string{
		&e.ID, &e.Action, &t.Type, &t.MediaType, (*string)(&t.Digest), &t.Repository, &t.FromRepository, &t.URL, &t.Tag,
		&t.ArtifactType, &r.ID, &r.Addr, &r.Host, &r.Method, &r.UserAgent, &e.Actor.Name, &e.Source.Addr, &e.Source.InstanceID,
	}
	for i := range t.URLs {
		all = append(all, &t.URLs[i])
	}
	platforms := []*v1.Platform{t.Platform}
	for i := range t.References {
		d := &t.References[i]
		all = append(all, &d.MediaType, (*string)(&d.Digest), &d.ArtifactType)
		platforms = append(platforms, d.Platform)
	}
	for _, p := range platforms {
		if p != nil {
			all = append(all, &p.Architecture, &p.OS, &p.OSVersion, &p.Variant)
		}
	}
	return all
}

// capturedEvents is the JSON of each event that real servers sent.
func capturedEvents(t testing.TB) (events []json.RawMessage) {
	files, err := filepath.Glob(filepath.Join("testdata", "captured", "envelopes-*.jsonl"))
	require.NoError(t, err)
	for _, file := range files {
		f, err := os.Open(file)
		require.NoError(t, err)
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var captured struct{ Body string }
			require.NoError(t, json.Unmarshal(lines.Bytes(), &captured))
			var env struct{ Events []json.RawMessage }
			require.NoError(t, json.Unmarshal([]byte(captured.Body), &env))
			events = append(events, env.Events...)
		}
		require.NoError(t, lines.Err())
		require.NoError(t, f.Close())
	}
	require.GreaterOrEqual(t, len(events), 22)
	return events
}

// wire is e as encoding/json is given it.
func wire(e *Event) eventJSON {
	t := &e.Target
	return eventJSON{
		ID: e.ID, Timestamp: e.Timestamp, Action: e.Action,
		Target: targetJSON{
			Type: t.Type, MediaType: t.MediaType, Digest: t.Digest, Size: t.Size, Length: t.Size, TotalSize: t.TotalSize,
			Repository: t.Repository, FromRepository: t.FromRepository, URL: t.URL, Tag: t.Tag,
			References: t.References, Annotations: t.Annotations, ArtifactType: t.ArtifactType,
			Platform: t.Platform, URLs: t.URLs, Data: t.Data,
		},
		Request: e.Request, Actor: e.Actor, Source: e.Source,
	}
}

// encodesAlike compares appendEvent with encoding/json and returns what both made.
func encodesAlike(t testing.TB, e *Event) []byte {
	t.Helper()
	const before = "before{"
	want, wantErr := json.Marshal(wire(e))
	got, err := appendEvent([]byte(before), e)
	if wantErr != nil {
		require.Error(t, err, "encoding/json: %v", wantErr)
		require.Equal(t, before, string(got))
		return nil
	}
	require.NoError(t, err)
	require.Equal(t, before+string(want), string(got))
	return want
}

func TestAppendEvent(t *testing.T) {
	negative := typicalEvent()
	negative.Target.Size = -1 << 63
	for name, e := range map[string]*Event{
		"empty": {}, "typical": typicalEvent(), "references": withReferences(), "full": fullEvent(), "negative size": negative,
		"empty but not nil": {Target: Target{
			References: []distribution.Descriptor{}, Annotations: map[string]string{},
			Platform: new(v1.Platform), URLs: []string{}, Data: []byte{},
		}},
		"first members of objects": {Target: Target{Tag: "{"}, Source: SourceRecord{InstanceID: ","}},
	} {
		t.Run(name, func(t *testing.T) { encodesAlike(t, e) })
	}
}

func TestAppendEventCaptured(t *testing.T) {
	for _, b := range capturedEvents(t) {
		e := new(Event)
		require.NoError(t, parseAny(b, e))
		decodesAlike(t, encodesAlike(t, e))
	}
}

// TestAppendEventStrings puts what may need an escape into every string, at the
// front, in the middle and at the end of strings of all lengths that are looked at
// differently.
func TestAppendEventStrings(t *testing.T) {
	awkward := []string{
		"\u2028", "\u2029", "\u2027", "\u202a", "\ufffd", "é", "中", "\U0001f433", "\u007f", "\u0080",
		"\xed\xa0\x80", "\xed\xbf\xbf", "\xe2\x80", "\xe2\x80\xe2\x80\xa8", "\xf4\x90\x80\x80", "\xc0\x80", "\x80\x80",
	}
	for c := range 256 {
		awkward = append(awkward, string([]byte{byte(c)}))
	}
	e := fullEvent()
	for i, field := range stringsOf(e) {
		was := *field
		for _, s := range awkward {
			*field = s
			encodesAlike(t, e)
		}
		*field = was
		require.NotEmpty(t, encodesAlike(t, e), "field %d", i)
	}

	e = new(Event)
	for n := range 40 {
		for at := range n + 1 {
			for _, s := range awkward {
				e.Target.Tag = strings.Repeat("a", at) + s + strings.Repeat("b", n-at)
				got, err := appendEvent(nil, e)
				require.NoError(t, err)
				quoted, err := json.Marshal(e.Target.Tag)
				require.NoError(t, err)
				require.Contains(t, string(got), `"target":{"tag":`+string(quoted)+`}`)
			}
		}
	}
}

func TestAppendEventAnnotations(t *testing.T) {
	e := new(Event)
	e.Target.Annotations = map[string]string{}
	for c := range 256 {
		e.Target.Annotations[string([]byte{byte(c)})] = string([]byte{'v', byte(c)})
	}
	encodesAlike(t, e)
}

func TestAppendEventTimestamps(t *testing.T) {
	for _, offset := range []int{
		0, 1, -1, 30, -30, 59, 60, -60, -90, 3600, -3600, 5*3600 + 1800, -(5*3600 + 1800), 23*3600 + 59*60 + 59,
		24*3600 - 1, 24 * 3600, 24*3600 + 1, -24*3600 + 1, -24 * 3600, -24*3600 - 1, 99 * 3600, 100 * 3600, -1000 * 3600,
	} {
		for _, year := range []int{-10000, -1, 0, 1, 1969, 1970, 2026, 9999, 10000, 99999} {
			for _, nanos := range []int{0, 1, 10, 100000000, 120000000, 123456789, 999999999} {
				for _, day := range []time.Time{
					time.Date(year, 1, 1, 0, 0, 0, nanos, time.FixedZone("x", offset)),
					time.Date(year, 2, 29, 12, 30, 59, nanos, time.FixedZone("", offset)),
					time.Date(year, 12, 31, 23, 59, 59, nanos, time.UTC).In(time.FixedZone("", offset)),
				} {
					if b := encodesAlike(t, &Event{Timestamp: day}); b != nil {
						decodesAlike(t, b)
					}
				}
			}
		}
	}
	_, err := appendEvent(nil, &Event{Timestamp: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)})
	assert.ErrorContains(t, err, "timestamp")
	assert.ErrorContains(t, err, "year")
}

func TestAppendEventAllocations(t *testing.T) {
	buf := make([]byte, 0, 4096)
	for name, e := range map[string]*Event{"typical": typicalEvent(), "references": withReferences()} {
		n := testing.AllocsPerRun(100, func() { _, _ = appendEvent(buf, e) })
		assert.Zero(t, n, name)
	}
	e := fullEvent()
	e.Target.Annotations, e.Target.References[0].Annotations = nil, nil
	e.Target.Tag = "needs <escapes>\xff"
	assert.Zero(t, testing.AllocsPerRun(100, func() { _, _ = appendEvent(buf, e) }), "full, but for the annotations")
}

func FuzzAppendEvent(f *testing.F) {
	f.Add(strings.Repeat("a|<|\xff|\u2028|~|", 20), []byte("data"), int64(1), int64(0), int64(1), 60, uint16(0xffff))
	f.Add("", []byte(nil), int64(0), int64(1<<40), int64(0), 0, uint16(0))
	f.Add(strings.Repeat("plain|", 50), []byte{}, int64(-1), int64(1<<31), int64(999999999), -30, uint16(0x155))
	f.Fuzz(func(t *testing.T, text string, data []byte, size, sec, nsec int64, zone int, shape uint16) {
		pieces := strings.Split(text, "|")
		next := func() (s string) {
			if len(pieces) > 0 {
				s, pieces = pieces[0], pieces[1:]
			}
			return s
		}
		count := func() int { // two bits of the shape
			n := int(shape & 3)
			shape >>= 2
			return n
		}
		list := func() (l []string) {
			for range count() {
				l = append(l, next())
			}
			return l
		}
		annotations := func() map[string]string {
			m := map[string]string{}
			for range count() {
				m[next()] = next()
			}
			return m
		}

		e := &Event{Timestamp: time.Unix(sec, nsec).In(time.FixedZone("", zone))}
		e.Target.Size, e.Target.Data = size, data
		for range count() {
			e.Target.References = append(e.Target.References, distribution.Descriptor{Size: size >> 8})
		}
		if count()&1 != 0 {
			e.Target.Platform = &v1.Platform{OSFeatures: list()}
		}
		e.Target.URLs, e.Target.Annotations = list(), annotations()
		if refs := e.Target.References; len(refs) > 1 {
			refs[1].URLs, refs[1].Annotations = list(), annotations()
			refs[1].Data, refs[1].Platform = data, e.Target.Platform
		}
		for _, s := range stringsOf(e) {
			*s = next()
		}
		if b := encodesAlike(t, e); b != nil {
			decodesAlike(t, b)
		}
	})
}

func BenchmarkAppendEvent(b *testing.B) {
	for name, e := range map[string]*Event{"typical": typicalEvent(), "references": withReferences()} {
		b.Run(name, func(b *testing.B) {
			buf, err := appendEvent(nil, e)
			require.NoError(b, err)
			b.ReportAllocs()
			b.SetBytes(int64(len(buf)))
			for b.Loop() {
				_, _ = appendEvent(buf[:0], e)
			}
		})
	}
}

func BenchmarkMarshalJSON(b *testing.B) {
	for name, e := range map[string]*Event{"typical": typicalEvent(), "references": withReferences()} {
		b.Run(name, func(b *testing.B) {
			buf, err := json.Marshal(wire(e))
			require.NoError(b, err)
			b.ReportAllocs()
			b.SetBytes(int64(len(buf)))
			for b.Loop() {
				_, _ = json.Marshal(wire(e))
			}
		})
	}
}
