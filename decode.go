package notifications

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/distribution/distribution/v3"
	"github.com/opencontainers/go-digest"
)

// parseEvent fills the exported fields of e from one event's JSON, as encoding/json
// would. What is written as appendEvent writes it, and simple, is read without
// reflection; everything else is left to encoding/json, what it refuses included.
// After an error e is as it was.
func parseEvent(b []byte, e *Event) error {
	if string(b) == "null" {
		return nil // as encoding/json has it
	}
	if parseCanonical(b, e) {
		return nil
	}
	return parseAny(b, e)
}

// parseAny reads every JSON that is an event.
func parseAny(b []byte, e *Event) error {
	var w eventJSON
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	fill(e, &w)
	return nil
}

func fill(e *Event, w *eventJSON) {
	e.ID, e.Timestamp, e.Action = w.ID, w.Timestamp, w.Action
	e.Request, e.Actor, e.Source = w.Request, w.Actor, w.Source
	t := &w.Target
	e.Target = Target{
		Type: t.Type, MediaType: t.MediaType, Digest: t.Digest, Size: t.Size, TotalSize: t.TotalSize,
		Repository: t.Repository, FromRepository: t.FromRepository, URL: t.URL, Tag: t.Tag,
		References: t.References, Annotations: t.Annotations, ArtifactType: t.ArtifactType,
		Platform: t.Platform, URLs: t.URLs, Data: t.Data,
	}
	if e.Target.Size == 0 {
		e.Target.Size = t.Length
	}
}

// parseCanonical reads what appendEvent writes for an event without annotations,
// platform, urls and data, and without escapes in its strings. It reports whether
// it could; if not, b may still be an event, and e is as it was.
//
// The strings of the event are pieces of one string.
func parseCanonical(b []byte, e *Event) bool {
	var w eventJSON
	p := parser{s: string(b)}
	if !p.name("{") {
		return false
	}
	w.ID = p.member(`"id":"`)
	if p.name(`"timestamp":"`) {
		w.Timestamp = p.time()
	}
	w.Action = p.member(`"action":"`)
	if p.name(`"target":{`) {
		w.Target = p.target()
	}
	if p.name(`"request":{`) {
		w.Request = p.request()
	}
	if p.name(`"actor":{`) {
		w.Actor.Name = p.member(`"name":"`)
		p.end("}")
	}
	if p.name(`"source":{`) {
		w.Source.Addr = p.member(`"addr":"`)
		w.Source.InstanceID = p.member(`"instanceID":"`)
		p.end("}")
	}
	if p.comma || p.s[p.at:] != "}" {
		return false
	}
	fill(e, &w)
	return true
}

// parser reads the members of objects in the order in which they are asked for.
type parser struct {
	s     string
	at    int  // how much has been read; all of it if the parser failed
	comma bool // a comma is the last that was read, and a member has to follow
}

func (p *parser) target() (t targetJSON) {
	t.Type = p.member(`"type":"`)
	t.MediaType = p.member(`"mediaType":"`)
	t.Digest = digest.Digest(p.member(`"digest":"`))
	if p.name(`"size":`) {
		t.Size = p.int()
	}
	if p.name(`"length":`) {
		t.Length = p.int()
	}
	if p.name(`"totalSize":`) {
		t.TotalSize = p.int()
	}
	t.Repository = p.member(`"repository":"`)
	t.FromRepository = p.member(`"fromRepository":"`)
	t.URL = p.member(`"url":"`)
	t.Tag = p.member(`"tag":"`)
	if p.name(`"references":[`) {
		t.References = p.references()
	}
	t.ArtifactType = p.member(`"artifactType":"`)
	p.end("}")
	return t
}

func (p *parser) request() (r RequestRecord) {
	r.ID = p.member(`"id":"`)
	r.Addr = p.member(`"addr":"`)
	r.Host = p.member(`"host":"`)
	r.Method = p.member(`"method":"`)
	r.UserAgent = p.member(`"useragent":"`)
	p.end("}")
	return r
}

// references reads the descriptors that have nothing but what each has to have.
func (p *parser) references() []distribution.Descriptor {
	refs := make([]distribution.Descriptor, 0, strings.Count(p.s[p.at:], `{"mediaType":"`))
	for p.name("{") {
		var d distribution.Descriptor
		d.MediaType = p.member(`"mediaType":"`)
		d.Digest = digest.Digest(p.member(`"digest":"`))
		if p.name(`"size":`) {
			d.Size = p.int()
		}
		p.end("}")
		refs = append(refs, d)
	}
	p.end("]")
	return refs
}

// member reads a string member if it comes next.
func (p *parser) member(name string) string {
	if !p.name(name) {
		return ""
	}
	return p.string()
}

// name reads a name, and what is around it, if it comes next.
func (p *parser) name(name string) bool {
	if !strings.HasPrefix(p.s[p.at:], name) {
		return false
	}
	p.at += len(name)
	p.comma = false
	return true
}

// end reads the end of an object or list, which has to come next.
func (p *parser) end(bracket string) {
	if p.comma || !p.name(bracket) {
		p.fail()
	}
	p.next()
}

// next reads the comma behind a value. Where there is none, only the end of an
// object or list may follow.
func (p *parser) next() {
	if p.at == len(p.s) {
		return // too short, or failed before
	}
	switch p.s[p.at] {
	case ',':
		p.at++
		p.comma = true
	case '}', ']':
	default:
		p.fail()
	}
}

func (p *parser) fail() { p.at = len(p.s) }

// string reads a string behind its opening quote.
func (p *parser) string() string {
	n := strings.IndexByte(p.s[p.at:], '"')
	if n < 0 {
		p.fail()
		return ""
	}
	s := p.s[p.at : p.at+n]
	p.at += n + 1
	if !allPlain(s) && !verbatim(s) {
		p.fail()
	}
	p.next()
	return s
}

// verbatim says whether a JSON string is what is between its quotes: valid, and
// without an escape.
func verbatim(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == '\\' {
			return false
		}
	}
	return utf8.ValidString(s)
}

// time reads a timestamp behind its opening quote.
func (p *parser) time() (t time.Time) {
	if t.UnmarshalText([]byte(p.string())) != nil {
		p.fail()
	}
	return t
}

// int reads an integer. If more than that follows, next refuses it.
func (p *parser) int() int64 {
	start := p.at
	for p.at < len(p.s) && (p.s[p.at] == '-' || '0' <= p.s[p.at] && p.s[p.at] <= '9') {
		p.at++
	}
	s := p.s[start:p.at]
	i, err := strconv.ParseInt(s, 10, 64)
	if digits := strings.TrimPrefix(s, "-"); err != nil || digits[0] == '0' && digits != "0" {
		p.fail()
	}
	p.next()
	return i
}
