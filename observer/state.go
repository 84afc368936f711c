package observer

import (
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/registry-notifications/notifications"
)

// State is what the events of a repository have led to.
type State struct {
	Repository

	// Tags are where they point to, as far as it was told, and Manifests those that are known.
	Tags      map[string]digest.Digest   `json:"tags,omitempty"`
	Manifests map[digest.Digest]Manifest `json:"manifests,omitempty"`

	// Deleted and Frozen say what it is now.
	Deleted bool `json:"deleted,omitempty"`
	Frozen  bool `json:"frozen,omitempty"`

	// Last is the last event of it, and Position the last that is done with, or was loaded.
	Last     Last   `json:"last"`
	Position uint64 `json:"position"`

	// Error is what the last attempt at it has come to, if that has failed, cut to 120
	// characters.
	Error string `json:"error,omitempty"`

	// Initialized says that the Initializer has prepared it, Told what the Processor was told
	// last, and Untold that it has still to be told of what was loaded.
	Initialized bool `json:"initialized,omitempty"`
	Told        Told `json:"told,omitempty"`
	Untold      bool `json:"untold,omitempty"`
}

// Manifest is what is known of one.
type Manifest struct {
	MediaType string `json:"mediaType,omitempty"`
	Size      int64  `json:"size,omitempty"`
}

// Last is the last event.
type Last struct {
	ID     string    `json:"id,omitempty"`
	Action string    `json:"action,omitempty"`
	Time   time.Time `json:"time,omitzero"`
}

// Told is what a Processor was told.
type Told string

// What a Processor was told. Nothing is the zero value.
const (
	Enabled  Told = "enabled"
	Disabled Told = "disabled"
	Frozen   Told = "frozen"
)

// now is what a Processor has to be told.
func (s *State) now() Told {
	switch {
	case s.Deleted:
		return Disabled
	case s.Frozen:
		return Frozen
	}
	return Enabled
}

// fold takes an event into the state, and says whether that tells anything new. To do so
// again, and what came behind it, leads to the same. Strings are copied: those of an event
// are pieces of something larger.
func (s *State) fold(e *notifications.Event) (news bool) {
	s.Last = Last{strings.Clone(e.ID), word(e.Action), e.Timestamp}
	t := &e.Target
	switch e.Action {
	case notifications.ActionPull:
		return false
	case notifications.ActionPush, notifications.ActionMount:
		s.Deleted = false
		if t.Type == notifications.TypeManifest || t.Type == "" && (t.Tag != "" || isManifest(t.MediaType)) {
			s.put(t)
		}
	case notifications.ActionDelete:
		if s.Deleted && !saysOfIt(e) {
			return false
		}
		s.drop(t)
	case notifications.ActionRename:
	case ActionFreeze:
		s.Deleted, s.Frozen = false, true
	case ActionUnfreeze:
		s.Deleted, s.Frozen = false, false
	default:
		return !s.Deleted
	}
	return true
}

// saysOfIt says whether an event says that its repository is there, or is gone. A pull, the
// delete of something in it, and what nobody knows may come late, behind its end.
func saysOfIt(e *notifications.Event) bool {
	t := &e.Target
	switch e.Action {
	case notifications.ActionPush, notifications.ActionMount, notifications.ActionRename, ActionFreeze, ActionUnfreeze:
		return true
	case notifications.ActionDelete:
		return t.Type == notifications.TypeRepository || t.Type == "" && t.Digest == "" && t.Tag == ""
	}
	return false
}

// put takes a manifest in, and its tag.
func (s *State) put(t *notifications.Target) {
	if t.Digest == "" {
		return
	}
	dgst := digest.Digest(strings.Clone(string(t.Digest)))
	if s.Manifests == nil {
		s.Manifests = make(map[digest.Digest]Manifest)
	}
	s.Manifests[dgst] = Manifest{word(t.MediaType), t.Size}
	if t.Tag == "" {
		return
	}
	if s.Tags == nil {
		s.Tags = make(map[string]digest.Digest)
	}
	if _, known := s.Tags[t.Tag]; known {
		s.Tags[t.Tag] = dgst // and the key stays
		return
	}
	s.Tags[strings.Clone(t.Tag)] = dgst
}

// drop takes out what was deleted. Senders older than target.type say what that was only by
// what they name.
func (s *State) drop(t *notifications.Target) {
	switch {
	case t.Type == notifications.TypeRepository, t.Type == "" && t.Digest == "" && t.Tag == "":
		s.Tags, s.Manifests = nil, nil
		s.Deleted, s.Frozen = true, false
	case t.Type == notifications.TypeTag, t.Type == "" && t.Digest == "":
		delete(s.Tags, t.Tag)
	case t.Type == notifications.TypeBlob:
	default:
		if _, known := s.Manifests[t.Digest]; !known {
			return // or a blob, if nobody says
		}
		delete(s.Manifests, t.Digest)
		for tag, dgst := range s.Tags {
			if dgst == t.Digest {
				delete(s.Tags, tag)
			}
		}
	}
}

// released is what is left of a state under its name when that was released.
func (s *State) released() *State {
	return &State{Repository: s.Repository, Deleted: true, Last: s.Last, Position: s.Position, Told: s.Told, Initialized: s.Initialized}
}

// isManifest says whether a media type is that of a manifest or index.
func isManifest(mediaType string) bool {
	return strings.Contains(mediaType, ".manifest.") || strings.Contains(mediaType, ".image.index.")
}

// word returns a copy of a string that comes often, which all have in common.
func word(s string) string {
	if w, ok := words[s]; ok {
		return w
	}
	return strings.Clone(s)
}

var words = func() map[string]string {
	m := make(map[string]string)
	for _, w := range []string{
		notifications.ActionPush, notifications.ActionPull, notifications.ActionMount, notifications.ActionDelete,
		notifications.ActionRename, ActionFreeze, ActionUnfreeze,
		"application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json",
		"application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json",
	} {
		m[w] = w
	}
	return m
}()
