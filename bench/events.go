package main

import (
	"math/rand/v2"
	"strings"
	"time"

	theirs "github.com/distribution/distribution/v3/notifications"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/registry-notifications/notifications"
)

// idPrefix is what all IDs begin with; the number of the event follows.
const idPrefix = "01990c0d-e000-7000-8000-"

var source = notifications.SourceRecord{
	Addr: "registry-0.registry.svc:5000", InstanceID: "0a4fb1f6-6d2c-4b8e-9a52-3f1f7a7d9e10",
}

// content is what an event says, whoever's it is.
type content struct {
	id, action, kind, mediaType, digest, repository, url, tag string
	size                                                      int64
	request                                                   notifications.RequestRecord
	actor                                                     string
	source                                                    notifications.SourceRecord
}

// maker makes the events of a node. All of them have the same length, nearly.
type maker struct {
	made   uint64
	random *rand.Rand
	line   line
	said   [different]content // what was made, to be said again
	// unshared makes what was never said before, with copies of the constants and of the
	// source.
	unshared bool
}

// different is how many events differ by more than their ID, unless all do: as many as
// there are in two of our envelopes. They share their strings with those of which they are the like, as
// otherwise it is the bench's own memory that the collector is busy with.
const different = 2 * batch

func newMaker() *maker { return &maker{random: rand.New(rand.NewPCG(1, 2))} }

func (m *maker) content() *content {
	c := &m.said[m.made%different]
	if m.made < different || m.unshared {
		*c = m.make()
	}
	c.id = m.line.text(idPrefix).hex(m.made, 12).done()
	m.made++
	return c
}

func (m *maker) make() content {
	n, l := m.made, &m.line
	c := content{
		action: notifications.ActionPush, kind: notifications.TypeManifest,
		mediaType:  imagespec.MediaTypeImageManifest,
		digest:     m.digest(),
		repository: l.text("team-").decimal(n, 1).text("/service-").decimal(n, 3).done(),
		tag:        l.text("v1.").decimal(n, 6).done(),
		size:       1000 + int64(n%9000),
		request:    m.request(n),
		actor:      l.text("robot-").decimal(n, 4).done(),
		source:     source,
	}
	c.url = l.text("https://registry.example.org/v2/").text(c.repository).text("/manifests/").text(c.digest).done()
	if m.unshared {
		for _, s := range []*string{&c.action, &c.kind, &c.mediaType, &c.request.Method, &c.source.Addr, &c.source.InstanceID} {
			*s = strings.Clone(*s)
		}
	}
	return c
}

func (m *maker) digest() string {
	l := m.line.text("sha256:")
	for range 4 {
		l.hex(m.random.Uint64(), 16)
	}
	return l.done()
}

func (m *maker) request(n uint64) notifications.RequestRecord {
	l, r := &m.line, m.random.Uint64()
	return notifications.RequestRecord{
		ID:        l.hex(r, 8).text("-").hex(n, 4).text("-4").hex(r>>32, 3).text("-8").hex(r>>44, 3).text("-").hex(r^n, 12).done(),
		Addr:      l.text("10.1").decimal(n, 2).text(".1").decimal(n/7, 2).text(".1").decimal(n/11, 2).text(":4").decimal(n, 4).done(),
		Host:      l.text("registry-").decimal(n, 1).text(".example.org").done(),
		Method:    "PUT",
		UserAgent: l.text("docker/29.").decimal(n, 1).text(".").decimal(n/10, 1).text(" go/go1.26.").decimal(n/100, 1).text(" os/linux arch/amd64").done(),
	}
}

func (m *maker) ours() *notifications.Event {
	return m.content().ours()
}

func (m *maker) theirs() *theirs.Event {
	return m.content().theirs()
}

func (c *content) ours() *notifications.Event {
	return &notifications.Event{
		ID: c.id, Timestamp: time.Now().UTC().Round(0), Action: c.action,
		Target: notifications.Target{
			Type: c.kind, MediaType: c.mediaType, Digest: digest.Digest(c.digest), Size: c.size,
			Repository: c.repository, URL: c.url, Tag: c.tag,
		},
		Request: c.request, Actor: notifications.ActorRecord{Name: c.actor}, Source: c.source,
	}
}

func (c *content) theirs() *theirs.Event {
	e := &theirs.Event{
		ID: c.id, Timestamp: time.Now(), Action: c.action,
		Request: theirs.RequestRecord(c.request),
		Actor:   theirs.ActorRecord{Name: c.actor},
		Source:  theirs.SourceRecord(c.source),
	}
	t := &e.Target
	t.MediaType, t.Digest, t.Size, t.Length = c.mediaType, digest.Digest(c.digest), c.size, c.size
	t.Repository, t.URL, t.Tag = c.repository, c.url, c.tag
	return e
}

// bodies returns envelopes of ours, with so many events in each.
func bodies(envelopes, events int) ([][]byte, error) {
	m := newMaker()
	all := make([][]byte, envelopes)
	for i := range all {
		env := notifications.Envelope{}
		for range events {
			env.Events = append(env.Events, m.ours())
		}
		body, err := env.MarshalJSON()
		if err != nil {
			return nil, err
		}
		all[i] = body
	}
	return all, nil
}

// eventBytes is the least that an event takes: the nanoseconds of the time can be
// fewer digits.
func eventBytes() (int64, error) {
	all, err := bodies(1, 1)
	if err != nil {
		return 0, err
	}
	const envelope, nanoseconds = len(`{"events":[]}`), 10
	return int64(len(all[0]) - envelope - nanoseconds), nil
}
