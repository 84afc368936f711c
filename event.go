package notifications

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// What a registry can report. Receivers must expect others: a server may write
// actions of its own.
const (
	ActionPush   = "push"   // content was stored
	ActionPull   = "pull"   // content was served
	ActionMount  = "mount"  // a blob was taken over from another repository
	ActionDelete = "delete" // a manifest, blob, tag or repository is gone
	ActionRename = "rename" // a repository has a new name
)

// What an event is about, as Target.Type says it. Without it a delete would not
// say what was deleted.
const (
	TypeManifest   = "manifest"
	TypeBlob       = "blob"
	TypeTag        = "tag"
	TypeRepository = "repository"
)

// Event is one thing that happened in a registry.
//
// An Event is immutable from its first Write on: sinks share it, and its encoded form,
// which is made once. (A sink that lags far behind gets an Event of its own around that.)
// Use it by pointer. An Event that was
// decoded keeps the bytes it came in as its encoding, fields that this package
// does not know included.
type Event struct {
	// ID is unique and stays the same through every retry, restart and replay.
	// NewEvent makes a UUIDv7 (RFC 9562). Receivers deduplicate on it.
	ID string

	// Timestamp is when it happened, on the registry's clock.
	Timestamp time.Time

	// Action is one of the Action constants, or a server's own.
	Action string

	// Target is what it happened to.
	Target Target

	// Request is the client's request that made it happen. Empty where there was
	// none, as in a garbage collection.
	Request RequestRecord

	// Actor is who made it happen. Empty where the registry knows nobody.
	Actor ActorRecord

	// Source is the registry node on which it happened.
	Source SourceRecord

	// Of an event that a log has kept as its encoding. This is there from the start, and
	// a piece of more: see detached. The fields are not there until somebody asks: see read.
	packed, unread bool

	mu       sync.Mutex // guards the rest
	encoding []byte     // nil until somebody asks
}

// Target is the content, tag or repository that an event is about. What does not
// apply is empty and left out of the JSON.
type Target struct {
	// Type is one of the Type constants. Events of other senders may lack it.
	Type string

	// MediaType, Digest and Size (bytes) describe content that was pushed, pulled
	// or mounted. A delete has at most the digest. On the wire the size comes
	// twice, as size and as length, which is what older receivers read.
	MediaType string
	Digest    digest.Digest
	Size      int64

	// Repository is the name of the repository. A rename has the new name here.
	Repository string

	// FromRepository is where a blob was mounted from, or the old name of a
	// renamed repository.
	FromRepository string

	// URL fetches the content by digest.
	URL string

	// Tag is set where the client named one.
	Tag string

	// References is what a manifest refers to, if the bridge includes it, and TotalSize
	// then the bytes of both, each content once. (An index refers to manifests, and these
	// to more.)
	References []distribution.Descriptor
	TotalSize  int64

	// The rest of an OCI descriptor (image-spec, descriptor.md), if known.
	Annotations  map[string]string
	ArtifactType string
	Platform     *v1.Platform
	URLs         []string
	Data         []byte
}

// total sums up the size and those of the references, each content once.
func (t *Target) total() {
	if len(t.References) == 0 {
		return
	}
	t.TotalSize = t.Size
	seen := make(map[digest.Digest]struct{}, len(t.References))
	for i := range t.References {
		d := &t.References[i]
		if _, again := seen[d.Digest]; !again {
			seen[d.Digest] = struct{}{}
			t.TotalSize += min(max(d.Size, 0), math.MaxInt64-t.TotalSize)
		}
	}
}

// RequestRecord is the client's request. Addr is what the connection has, unless the
// bridge was told to trust a proxy.
type RequestRecord struct {
	ID        string `json:"id"`             // made by the registry, one for each request
	Addr      string `json:"addr,omitempty"` // the client's IP address and port
	Host      string `json:"host,omitempty"` // the registry's name as the client sees it
	Method    string `json:"method"`         // the HTTP method
	UserAgent string `json:"useragent"`      // the client's own description of itself
}

// ActorRecord is who made the request.
type ActorRecord struct {
	// Name is the user that the registry's access control verified.
	Name string `json:"name,omitempty"`
}

// SourceRecord is the registry node that made the event. NewSource fills it.
type SourceRecord struct {
	// Addr is the node's own host and port, not the public name.
	Addr string `json:"addr,omitempty"`

	// InstanceID is new for each run of the node.
	InstanceID string `json:"instanceID,omitempty"`
}

// NewEvent returns an event of this moment with a fresh ID. The caller fills in
// the rest before the first Write.
func NewEvent(action string) *Event {
	at := timestamp(time.Now())
	return &Event{ID: newID(at), Timestamp: at, Action: action}
}

// timestamp is a moment as an event has it.
func timestamp(now time.Time) time.Time { return now.UTC().Round(0) }

// newID returns a UUIDv7 of a moment: milliseconds, the part of the next one in twelve
// bits, and chance (RFC 9562, 5.7 and 6.2, method 3). That is from the runtime's generator
// (ChaCha8, seeded by the system), which needs no system call for each ID.
func newID(now time.Time) string { return string(appendID(make([]byte, 0, idLength), now)) }

// idLength is that of a UUID's text.
const idLength = 36

func appendID(b []byte, now time.Time) []byte {
	nano := uint64(now.UnixNano())
	milli, part := nano/1e6, nano%1e6<<12/1e6
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], milli<<16|7<<12|part)
	binary.BigEndian.PutUint64(id[8:], 0b10<<62|rand.Uint64()>>2)
	b = append(hex.AppendEncode(b, id[0:4]), '-')
	b = append(hex.AppendEncode(b, id[4:6]), '-')
	b = append(hex.AppendEncode(b, id[6:8]), '-')
	b = append(hex.AppendEncode(b, id[8:10]), '-')
	return hex.AppendEncode(b, id[10:])
}

// encoded returns the event's JSON, which is made by the first call and shared
// by all. Nobody may change it.
func (e *Event) encoded() ([]byte, error) {
	if e.packed {
		return e.encoding, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.encoding == nil {
		scratch := scratches.Get().(*[]byte)
		b, err := appendEvent((*scratch)[:0], e)
		if err != nil {
			return nil, err
		}
		e.encoding = bytes.Clone(b)
		if cap(b) <= maxScratch {
			*scratch = b
			scratches.Put(scratch)
		}
	}
	return e.encoding, nil
}

// scratches are buffers in which encodings are made whose size is not known yet. One
// that had to grow for an event with everything in it is not kept.
var scratches = sync.Pool{New: func() any { return new([]byte) }}

const maxScratch = 64 << 10 // bytes

// AppendJSON appends the event to dst in the wire format: the bytes that it came in, or
// the encoding that it has already. If it has none, this one is not kept; and with
// room in dst nothing is allocated. The error is of a timestamp that cannot be said in
// RFC 3339, and dst as it was.
func (e *Event) AppendJSON(dst []byte) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.encoding != nil {
		return append(dst, e.encoding...), nil
	}
	return appendEvent(dst, e)
}

// keptAs makes an empty event the one that a log has kept as its encoding.
func (e *Event) keptAs(encoding []byte) *Event {
	e.encoding, e.packed, e.unread = encoding, true, true
	return e
}

// read fills in the fields of an event that a log has kept as its encoding. Until then
// only the worker knows it for whom the log's cursor has made it, so there is no lock: an
// event is read before it leaves the sinks of this package.
func (e *Event) read() *Event {
	if e.unread {
		e.unread = false
		_ = parseEvent(e.encoding, e) // it can be: it was an event's
	}
	return e
}

// detached returns an event for whoever may keep it: with its fields, and its encoding
// no piece of a log's.
func (e *Event) detached() *Event {
	if !e.packed {
		return e
	}
	own := &Event{encoding: bytes.Clone(e.encoding), unread: true}
	return own.read()
}

// MarshalJSON returns the event in the wire format. It fixes the event's
// encoding: later changes to its fields do not show.
func (e *Event) MarshalJSON() ([]byte, error) { return e.encoded() }

// UnmarshalJSON reads an event and keeps the bytes it came in. Fields that this
// package does not know are kept in these bytes alone.
func (e *Event) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil // as encoding/json has it
	}
	if err := parseEvent(b, e); err != nil {
		return err
	}
	e.encoding, e.unread, e.packed = bytes.Clone(b), false, false
	return nil
}

// ErrNilEvent is returned by the Write of every sink for a block with a nil event
// in it. Nothing of such a block is taken.
var ErrNilEvent = errors.New("notifications: nil event")

// validate refuses what no sink could ever take, before any of it is taken.
func validate(events []*Event) error {
	for i, e := range events {
		if e == nil {
			return fmt.Errorf("%w: number %d of %d", ErrNilEvent, i+1, len(events))
		}
		if e.Timestamp.Location() == time.UTC && e.Timestamp.Unix() >= 0 && e.Timestamp.Unix() < year9999 {
			continue // as nearly all are
		}
		if year := e.Timestamp.Year(); year < 0 || year > 9999 {
			// RFC 3339 has four digits for the year.
			return fmt.Errorf("notifications: event %q: timestamp: year %d: allowed are 0 to 9999", e.ID, year)
		}
		if _, offset := e.Timestamp.Zone(); offset <= -24*3600 || offset >= 24*3600 {
			return fmt.Errorf("notifications: event %q: timestamp: zone %d s from UTC: allowed is less than a day", e.ID, offset)
		}
	}
	return nil
}

// year9999 is its beginning, in Unix seconds.
const year9999 = 253370764800
