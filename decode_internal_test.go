package notifications

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// decodesAlike compares parseEvent with encoding/json.
func decodesAlike(t testing.TB, b []byte) {
	t.Helper()
	var want eventJSON
	wantErr := json.Unmarshal(b, &want)
	if want.Target.Size == 0 {
		want.Target.Size = want.Target.Length
	}
	want.Target.Length = want.Target.Size

	got := fullEvent()
	before := wire(got)
	err := parseEvent(b, got)
	switch {
	case string(b) == "null":
		require.NoError(t, err)
		require.Equal(t, before, wire(got), "null changes nothing")
	case wantErr != nil:
		require.EqualError(t, err, wantErr.Error(), "%q", b)
		require.Equal(t, before, wire(got), "changed by %q", b)
	default:
		require.NoError(t, err, "%q", b)
		require.Equal(t, want, wire(got), "%q", b)
	}
}

func encode(t testing.TB, e *Event) []byte {
	t.Helper()
	b, err := appendEvent(nil, e)
	require.NoError(t, err)
	return b
}

func TestParseEventCaptured(t *testing.T) {
	for _, b := range capturedEvents(t) {
		decodesAlike(t, b)
	}
}

func TestParseEventGolden(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		decodesAlike(t, b)
		decodesAlike(t, []byte(strings.TrimSpace(string(b))))
	}
}

// TestParseEventFast: what is read without encoding/json, and what is not.
func TestParseEventFast(t *testing.T) {
	east := typicalEvent()
	east.Timestamp = east.Timestamp.In(time.FixedZone("", 5*3600+1800))
	accents := typicalEvent()
	accents.Actor.Name, accents.Request.UserAgent = "Zoë ~ 中", "a^b|c~d e\u007ff"
	for name, b := range map[string]string{
		"typical":       string(encode(t, typicalEvent())),
		"references":    string(encode(t, withReferences())),
		"another zone":  string(encode(t, east)),
		"accents":       string(encode(t, accents)),
		"empty":         string(encode(t, new(Event))),
		"nothing":       `{}`,
		"empty objects": `{"target":{},"request":{},"actor":{},"source":{}}`,
		"empty strings": `{"id":"","target":{"mediaType":"","digest":""},"request":{"id":""}}`,
		"length only":   `{"target":{"length":7}}`,
		"size only":     `{"target":{"size":-9223372036854775808}}`,
		"minus zero":    `{"target":{"size":-0,"length":5}}`,
		"no references": `{"target":{"references":[]}}`,
		"HTML":          `{"id":"a<b>&c"}`,
	} {
		t.Run(name, func(t *testing.T) {
			assert.True(t, parseCanonical([]byte(b), new(Event)))
			decodesAlike(t, []byte(b))
		})
	}
	for name, b := range map[string]string{
		"full":                   string(encode(t, fullEvent())),
		"null":                   `null`,
		"nothing at all":         ``,
		"a space behind":         `{} `,
		"a space inside":         `{ }`,
		"a brace too many":       `{}}`,
		"a brace too few":        `{"actor":{}`,
		"another bracket":        `{"actor":{]}`,
		"not an object":          `[]`,
		"a number":               `7`,
		"unknown member":         `{"id":"1","x":1}`,
		"another order":          `{"action":"push","id":"1"}`,
		"twice":                  `{"id":"1","id":"2"}`,
		"target twice":           `{"target":{"tag":"a"},"target":{"type":"b"}}`,
		"another case":           `{"ID":"1"}`,
		"null member":            `{"id":null}`,
		"null object":            `{"target":null}`,
		"escape":                 `{"id":"a\u0062"}`,
		"escaped quote":          `{"id":"a\"b"}`,
		"escape of no kind":      `{"id":"a\x"}`,
		"escaped name":           `{"i\u0064":"1"}`,
		"control character":      "{\"id\":\"a\nb\"}",
		"not UTF-8":              "{\"id\":\"a\xffb\"}",
		"a lone surrogate":       "{\"id\":\"a\xed\xa0\x80b\"}",
		"no comma":               `{"id":"1""action":"x"}`,
		"comma at the end":       `{"id":"1",}`,
		"comma at the start":     `{,"id":"1"}`,
		"two commas":             `{"id":"1",,"action":"x"}`,
		"comma in an object":     `{"actor":{"name":"x",}}`,
		"string without end":     `{"id":"1`,
		"leading zero":           `{"target":{"size":01}}`,
		"negative leading zero":  `{"target":{"size":-01}}`,
		"two zeros":              `{"target":{"size":00}}`,
		"plus":                   `{"target":{"size":+1}}`,
		"minus only":             `{"target":{"size":-}}`,
		"two minus":              `{"target":{"size":--1}}`,
		"minus inside":           `{"target":{"size":1-1}}`,
		"no number":              `{"target":{"size":}}`,
		"number at the end":      `{"target":{"size":1`,
		"fraction":               `{"target":{"size":1.0}}`,
		"exponent":               `{"target":{"size":1e3}}`,
		"too large":              `{"target":{"size":9223372036854775808}}`,
		"size as a string":       `{"target":{"size":"1"}}`,
		"comma in references":    `{"target":{"references":[{},]}}`,
		"no comma in references": `{"target":{"references":[{}{}]}}`,
		"brace for bracket":      `{"target":{"references":[{}}}`,
		"reference with more":    `{"target":{"references":[{"mediaType":"a","urls":["b"]}]}}`,
		"null reference":         `{"target":{"references":[null]}}`,
		"annotations":            `{"target":{"annotations":{"a":"b"}}}`,
		"empty timestamp":        `{"timestamp":""}`,
		"no timestamp":           `{"timestamp":"yesterday"}`,
		"no such day":            `{"timestamp":"2026-02-29T00:00:00Z"}`,
		"no zone":                `{"timestamp":"2026-02-03T00:00:00"}`,
		"timestamp as a number":  `{"timestamp":1}`,
	} {
		t.Run(name, func(t *testing.T) {
			assert.False(t, parseCanonical([]byte(b), new(Event)))
			decodesAlike(t, []byte(b))
		})
	}
}

// TestParseEventTimestamps has what time.Time takes and RFC 3339 does not, too.
func TestParseEventTimestamps(t *testing.T) {
	for _, s := range []string{
		"0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "10000-01-01T00:00:00Z", "2026-02-03T04:05:06.1Z",
		"2026-02-03T04:05:06.1234567891234Z", "2026-02-03T04:05:06,5Z", "2026-02-03T4:05:06Z", "2026-02-03T24:00:00Z",
		"2026-02-03T04:05:60Z", "2026-02-03T04:05:06+00:00", "2026-02-03T04:05:06-00:00", "2026-02-03T04:05:06+05:30",
		"2026-02-03T04:05:06+23:59", "2026-02-03T04:05:06+24:00", "2026-02-03T04:05:06+05:60", "2026-02-03t04:05:06z",
		"2026-02-03 04:05:06Z", " 2026-02-03T04:05:06Z", "2026-02-03T04:05:06Z ", "2026-02-03T04:05:06.Z",
	} {
		decodesAlike(t, []byte(`{"timestamp":"`+s+`","action":"push"}`))
	}
}

// TestParseEventDamaged cuts an event off everywhere, and changes every byte of it.
func TestParseEventDamaged(t *testing.T) {
	whole := encode(t, withReferences())
	for n := range whole {
		decodesAlike(t, whole[:n])
		decodesAlike(t, append(append([]byte(nil), whole[:n]...), whole[n+1:]...))
		for _, c := range "{}[]\",:\\0-9x \x00\x80" {
			damaged := append([]byte(nil), whole...)
			damaged[n] = byte(c)
			decodesAlike(t, damaged)
		}
	}
}

// TestParseEventKeepsNothing: the bytes are the caller's again afterwards.
func TestParseEventKeepsNothing(t *testing.T) {
	b := encode(t, withReferences())
	e := new(Event)
	require.NoError(t, parseEvent(b, e))
	clear(b)
	assert.Equal(t, wire(withReferences()), wire(e))
}

func TestParseEventAllocations(t *testing.T) {
	e := new(Event)
	for name, c := range map[string]struct {
		event  *Event
		allocs float64
	}{
		"the strings":                     {typicalEvent(), 1},
		"the strings and the descriptors": {withReferences(), 2},
	} {
		b := encode(t, c.event)
		n := testing.AllocsPerRun(100, func() { _ = parseEvent(b, e) })
		assert.Equal(t, c.allocs, n, name)
	}
}

func FuzzParseEvent(f *testing.F) {
	for _, e := range []*Event{{}, typicalEvent(), withReferences(), fullEvent()} {
		f.Add(encode(f, e))
	}
	for _, b := range capturedEvents(f)[:4] {
		f.Add([]byte(b))
	}
	f.Add([]byte(`{"id":"1","timestamp":"2026-02-03T04:05:06.7+05:30","target":{"size":-0,"length":5,"references":[]},"actor":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) { decodesAlike(t, b) })
}

func BenchmarkParseEvent(b *testing.B) {
	for name, e := range map[string]*Event{"typical": typicalEvent(), "references": withReferences()} {
		b.Run(name, func(b *testing.B) {
			in, out := encode(b, e), new(Event)
			b.ReportAllocs()
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				_ = parseEvent(in, out)
			}
		})
	}
}

func BenchmarkUnmarshalJSON(b *testing.B) {
	for name, e := range map[string]*Event{"typical": typicalEvent(), "references": withReferences()} {
		b.Run(name, func(b *testing.B) {
			in, out := encode(b, e), new(Event)
			b.ReportAllocs()
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				_ = parseAny(in, out)
			}
		})
	}
}
