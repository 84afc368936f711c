package notifications_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

var update = flag.Bool("update", false, "write the golden files anew")

const someDigest = digest.Digest("sha256:4fdf8afe06aa7fcec516d973dde3973346482b98d8f4097e5bb3d2d118db11f5")

// goldenEvents has one event of every kind, and one with every field.
func goldenEvents() map[string]*Event {
	base := func(action string, target Target) *Event {
		target.Repository = "library/app"
		return &Event{
			ID:        "0197a3c2-6a00-7000-8000-000000000001",
			Timestamp: time.Date(2026, 2, 3, 4, 5, 6, 789000000, time.UTC),
			Action:    action,
			Target:    target,
			Request: RequestRecord{
				ID: "0197a3c2-6a00-7000-8000-000000000002", Addr: "192.0.2.7:4711", Host: "registry.example.org",
				Method: "PUT", UserAgent: "client/1.0",
			},
			Actor:  ActorRecord{Name: "alice"},
			Source: SourceRecord{Addr: "node-1:5000", InstanceID: "0197a3c2-6a00-7000-8000-000000000003"},
		}
	}
	manifest := Target{
		Type: TypeManifest, MediaType: v1.MediaTypeImageManifest, Digest: someDigest, Size: 403,
		URL: "https://registry.example.org/v2/library/app/manifests/" + someDigest.String(), Tag: "v1",
		References: []distribution.Descriptor{{MediaType: v1.MediaTypeImageConfig, Digest: someDigest, Size: 233}},
	}
	blob := Target{
		Type: TypeBlob, MediaType: "application/octet-stream", Digest: someDigest, Size: 233,
		URL: "https://registry.example.org/v2/library/app/blobs/" + someDigest.String(),
	}
	mount := blob
	mount.FromRepository = "library/base"
	full := manifest
	full.FromRepository = "library/<old>"
	full.Annotations = map[string]string{"b": "2 & 3", "a": "\u2028"}
	full.ArtifactType = "application/vnd.example+type"
	full.Platform = &v1.Platform{Architecture: "arm64", OS: "linux", OSFeatures: []string{"f"}, Variant: "v8"}
	full.URLs = []string{"https://example.org/a?b=c&d"}
	full.Data = []byte("data")
	return map[string]*Event{
		"push-manifest":     base(ActionPush, manifest),
		"push-blob":         base(ActionPush, blob),
		"pull-manifest":     base(ActionPull, manifest),
		"pull-blob":         base(ActionPull, blob),
		"mount-blob":        base(ActionMount, mount),
		"delete-manifest":   base(ActionDelete, Target{Type: TypeManifest, Digest: someDigest}),
		"delete-blob":       base(ActionDelete, Target{Type: TypeBlob, Digest: someDigest}),
		"delete-tag":        base(ActionDelete, Target{Type: TypeTag, Tag: "v1"}),
		"delete-repository": base(ActionDelete, Target{Type: TypeRepository}),
		"rename-repository": base(ActionRename, Target{Type: TypeRepository, FromRepository: "library/old"}),
		"full":              base(ActionPush, full),
		"empty":             {},
	}
}

// TestGoldenEvents pins every byte of the wire format.
func TestGoldenEvents(t *testing.T) {
	for name, e := range goldenEvents() {
		t.Run(name, func(t *testing.T) {
			got, err := json.Marshal(e)
			require.NoError(t, err)
			golden(t, name+".json", got)

			var back Event
			require.NoError(t, json.Unmarshal(got, &back))
			assertSameEvent(t, e, &back)
		})
	}
}

func TestGoldenEnvelope(t *testing.T) {
	events := goldenEvents()
	got, err := (&Envelope{Events: []*Event{events["push-blob"], events["delete-tag"]}}).MarshalJSON()
	require.NoError(t, err)
	golden(t, "envelope.json", got)

	got, err = (&Envelope{}).MarshalJSON()
	require.NoError(t, err)
	assert.Equal(t, `{"events":[]}`, string(got))
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		require.NoError(t, os.WriteFile(path, append(got, '\n'), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, strings.TrimSpace(string(want)), string(got))
}

// assertSameEvent compares what can be seen from outside.
func assertSameEvent(t *testing.T, want, got *Event) {
	t.Helper()
	assert.Equal(t, want.ID, got.ID)
	assert.True(t, want.Timestamp.Equal(got.Timestamp))
	assert.Equal(t, want.Action, got.Action)
	assert.Equal(t, want.Target, got.Target)
	assert.Equal(t, want.Request, got.Request)
	assert.Equal(t, want.Actor, got.Actor)
	assert.Equal(t, want.Source, got.Source)
}

// TestCapturedEnvelopes decodes what real servers sent and encodes it again, from
// the typed events alone.
func TestCapturedEnvelopes(t *testing.T) {
	for _, file := range []string{"envelopes-distribution-2.8.2.jsonl", "envelopes-distribution-3.1.2.jsonl"} {
		t.Run(file, func(t *testing.T) {
			f, err := os.Open(filepath.Join("testdata", "captured", file))
			require.NoError(t, err)
			defer f.Close()
			envelopes := 0
			for lines := bufio.NewScanner(f); lines.Scan(); envelopes++ {
				var captured struct{ ContentType, Body string }
				require.NoError(t, json.Unmarshal(lines.Bytes(), &captured))
				env, err := DecodeEnvelope(captured.ContentType, strings.NewReader(captured.Body), 0)
				require.NoError(t, err)

				var sent struct{ Events []any }
				require.NoError(t, json.Unmarshal([]byte(captured.Body), &sent))
				require.Len(t, env.Events, len(sent.Events))
				for i, e := range env.Events {
					// As received: the very bytes.
					b, err := e.MarshalJSON()
					require.NoError(t, err)
					assert.Contains(t, captured.Body, string(b))
					// From the fields: the same values, but for the named differences.
					var again any
					require.NoError(t, json.Unmarshal(reencode(t, e), &again))
					assert.Equal(t, withoutEmpty(sent.Events[i]), again)
				}
			}
			assert.Equal(t, 11, envelopes)
		})
	}
}

// reencode encodes an event from its fields.
func reencode(t *testing.T, e *Event) []byte {
	t.Helper()
	b, err := json.Marshal(&Event{
		ID: e.ID, Timestamp: e.Timestamp, Action: e.Action,
		Target: e.Target, Request: e.Request, Actor: e.Actor, Source: e.Source,
	})
	require.NoError(t, err)
	return b
}

// withoutEmpty is the difference that the wire format names: an empty media type,
// digest or size is left out.
func withoutEmpty(event any) any {
	target := event.(map[string]any)["target"].(map[string]any)
	for _, key := range []string{"mediaType", "digest", "size"} {
		if v := target[key]; v == "" || v == 0.0 {
			delete(target, key)
		}
	}
	return event
}

func TestNewEvent(t *testing.T) {
	a, b := NewEvent(ActionPull), NewEvent(ActionPull)
	assert.NotEqual(t, a.ID, b.ID)
	id, err := uuid.Parse(a.ID)
	require.NoError(t, err)
	assert.EqualValues(t, 7, id.Version())
	assert.Equal(t, time.UTC, a.Timestamp.Location())
	assert.Equal(t, ActionPull, a.Action)
}

func TestEventIsEncodedOnce(t *testing.T) {
	e := NewEvent(ActionPush)
	first, err := e.MarshalJSON()
	require.NoError(t, err)
	e.Action = "changed" // which nobody may do
	second, err := e.MarshalJSON()
	require.NoError(t, err)
	assert.Same(t, &first[0], &second[0])
}

func TestReceivedEventKeepsItsBytes(t *testing.T) {
	const body = `{ "events" : [ {"id":"1", "x-unknown":[1,  2], "action":"push","target":{"future":true,"length":7}} ], "more":1 }`
	env, err := DecodeEnvelope(MediaTypeV1+"; charset=utf-8", strings.NewReader(body), 0)
	require.NoError(t, err)
	require.Len(t, env.Events, 1)
	assert.Equal(t, "push", env.Events[0].Action)
	assert.EqualValues(t, 7, env.Events[0].Target.Size, "a size that only came as length")
	out, err := env.MarshalJSON()
	require.NoError(t, err)
	assert.Equal(t, `{"events":[{"id":"1", "x-unknown":[1,  2], "action":"push","target":{"future":true,"length":7}}]}`, string(out))

	// An event that is decoded into twice is the second one.
	require.NoError(t, env.Events[0].UnmarshalJSON([]byte(`{"id":"2"}`)))
	assert.Equal(t, "2", env.Events[0].ID)
	assert.Empty(t, env.Events[0].Action)
	out, err = env.Events[0].MarshalJSON()
	require.NoError(t, err)
	assert.Equal(t, `{"id":"2"}`, string(out))
}

func TestDecodeEnvelopeBadInput(t *testing.T) {
	for _, c := range []struct {
		name, contentType, body string
		max                     int64
		is                      error
		says                    string
	}{
		{"no content type", "", `{"events":[]}`, 0, ErrMediaType, "allowed are"},
		{"another content type", "application/json", `{"events":[]}`, 0, ErrMediaType, "application/json"},
		{"empty", MediaTypeV2, ``, 0, ErrNotEnvelope, "unexpected EOF"},
		{"not JSON", MediaTypeV2, `<html>`, 0, ErrNotEnvelope, "invalid character"},
		{"a list", MediaTypeV2, `[]`, 0, ErrNotEnvelope, "[ where { was expected"},
		{"no events", MediaTypeV2, `{"event":[]}`, 0, ErrNotEnvelope, "no list of events"},
		{"null events", MediaTypeV2, `{"events":null}`, 0, ErrNotEnvelope, "where [ was expected"},
		{"events not a list", MediaTypeV2, `{"events":{}}`, 0, ErrNotEnvelope, "{ where [ was expected"},
		{"a null event", MediaTypeV2, `{"events":[{},null]}`, 0, ErrNotEnvelope, "event 2 is null"},
		{"an event of another type", MediaTypeV2, `{"events":[{},{},"x"]}`, 0, ErrNotEnvelope, "event 3"},
		{"a field of another type", MediaTypeV2, `{"events":[{"timestamp":5}]}`, 0, ErrNotEnvelope, "event 1"},
		{"something behind it", MediaTypeV2, `{"events":[]} {}`, 0, ErrNotEnvelope, "behind the end"},
		{"cut off", MediaTypeV2, `{"events":[{}`, 0, ErrNotEnvelope, "EOF"},
		{"cut off in front", MediaTypeV2, `{"events"`, 0, ErrNotEnvelope, "EOF"},
		{"too many events", MediaTypeV2, `{"events":[` + strings.Repeat("{},", MaxEnvelopeEvents) + `{}]}`, 0, ErrEnvelopeTooLarge, "16384 events"},
		{"one byte too many", MediaTypeV2, `{"events":[]}`, 12, ErrEnvelopeTooLarge, "12 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := DecodeEnvelope(c.contentType, strings.NewReader(c.body), c.max)
			assert.ErrorIs(t, err, c.is)
			assert.ErrorContains(t, err, c.says)
		})
	}

	env, err := DecodeEnvelope(MediaTypeV2, strings.NewReader(`{"events":[]}`), 13)
	require.NoError(t, err, "a body that just fits")
	assert.Empty(t, env.Events)

	boom := errors.New("boom")
	_, err = DecodeEnvelope(MediaTypeV2, io.MultiReader(strings.NewReader("{"), errReader{boom}), 0)
	assert.ErrorIs(t, err, boom)
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// endless is a body that would fill any memory.
type endless struct{ read int64 }

func (r *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	r.read += int64(len(p))
	return len(p), nil
}

func TestDecodeEnvelopeOf100MB(t *testing.T) {
	body := &endless{}
	_, err := DecodeEnvelope(MediaTypeV2, io.LimitReader(body, 100<<20), 0)
	assert.ErrorIs(t, err, ErrEnvelopeTooLarge)
	assert.LessOrEqual(t, body.read, int64(2*DefaultMaxEnvelope), "read no more than it has to")
}

func TestInvalidUTF8(t *testing.T) {
	e := NewEvent(ActionPull)
	e.Target.Tag, e.Request.UserAgent = "v\xff1", "agent\xc3\x28"
	b, err := e.MarshalJSON()
	require.NoError(t, err)
	assert.True(t, json.Valid(b))
	var back Event
	require.NoError(t, back.UnmarshalJSON(b))
	assert.Equal(t, "v\ufffd1", back.Target.Tag)
}

func TestUnencodableEventIsRefusedAtWrite(t *testing.T) {
	f := new(sinktest.Fake)
	b := newBroadcaster(t)
	require.NoError(t, b.Add("fake", f))
	defer b.Close(t.Context())
	for _, year := range []int{-1, 10000} {
		e := NewEvent(ActionPush)
		e.Timestamp = time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
		err := b.Write(t.Context(), e)
		assert.ErrorContains(t, err, "timestamp")
		assert.ErrorContains(t, err, e.ID)
	}
	_, err := (&Envelope{Events: []*Event{nil}}).MarshalJSON()
	assert.ErrorIs(t, err, ErrNilEvent)
}

func FuzzDecodeEnvelope(f *testing.F) {
	for name, e := range goldenEvents() {
		b, err := json.Marshal(e)
		require.NoError(f, err, name)
		f.Add([]byte(`{"events":[` + string(b) + `]}`))
	}
	f.Add([]byte(`{"events":[null]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		env, err := DecodeEnvelope(MediaTypeV2, bytes.NewReader(body), 1<<20)
		if err != nil {
			return
		}
		again, err := env.MarshalJSON()
		if err != nil {
			return // a timestamp that RFC 3339 cannot say
		}
		second, err := DecodeEnvelope(MediaTypeV2, bytes.NewReader(again), 0)
		require.NoError(t, err)
		require.Len(t, second.Events, len(env.Events))
	})
}

// TestTotalSize: each content counts once, and however many there are, the client does not
// wait for it.
func TestTotalSize(t *testing.T) {
	f := new(sinktest.Fake)
	bridge, err := NewBridge(f, BridgeConfig{})
	require.NoError(t, err)
	target := Target{Type: TypeManifest, Repository: "library/app", Digest: digest.FromString("m"), Size: 1000}
	for i := range 200_000 {
		target.References = append(target.References, distribution.Descriptor{Digest: digest.Digest(fmt.Sprint(i / 2)), Size: 3})
	}
	target.References = append(target.References, distribution.Descriptor{Digest: "negative", Size: -5})
	bridge.Report(httptest.NewRequest("PUT", "/v2/library/app/manifests/v1", nil), ActionPush, target)
	require.EqualValues(t, 1000+100_000*3, f.Wait(t, 1)[0].Target.TotalSize)
}
