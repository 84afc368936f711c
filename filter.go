package notifications

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Filter says which events a sink is for. The zero value lets everything through.
type Filter struct {
	// Only lets through just what it matches: a list that is empty matches
	// everything, and an event has to match all three.
	Only Rules `yaml:"only,omitempty" json:"only,omitzero"`

	// Ignore keeps out what one of its lists matches, even if Only lets it through.
	Ignore Rules `yaml:"ignore,omitempty" json:"ignore,omitzero"`

	// Images lets through only what tells of a whole image or artifact: the push of a
	// tagged manifest, which a registry takes when all of its parts are there, the pull of
	// one by its tag, and the delete of a tag. What Only and Ignore say counts as well. What
	// the image is made of, and its total size, is in these events if their source has
	// BridgeConfig.IncludeReferences set.
	Images bool `yaml:"images,omitempty" json:"images,omitempty"`
}

// Rules are lists that an event is matched against.
type Rules struct {
	// MediaTypes are compared with the target's media type. A delete has none.
	MediaTypes []string `yaml:"mediatypes,omitempty" json:"mediatypes,omitempty"`

	// Actions are compared with the action.
	Actions []string `yaml:"actions,omitempty" json:"actions,omitempty"`

	// Repositories are names, or patterns in which * stands for anything without a
	// slash, ** for anything at all, and ? for one character but a slash. Either name
	// of a renamed repository matches.
	Repositories []string `yaml:"repositories,omitempty" json:"repositories,omitempty"`
}

// matcher is a Filter made ready.
type matcher struct {
	only, ignore rules
	images       bool
}

type rules struct {
	mediaTypes []string
	actions    []string
	names      []string       // repositories without a pattern
	globs      *regexp.Regexp // the others, or nil
}

func (f Filter) compile() (m matcher, err error) {
	var only, ignore error
	m.images = f.Images
	m.only, only = f.Only.compile("only")
	m.ignore, ignore = f.Ignore.compile("ignore")
	return m, errors.Join(only, ignore)
}

func (r Rules) compile(field string) (c rules, err error) {
	for _, list := range []struct {
		name   string
		values []string
	}{{"mediatypes", r.MediaTypes}, {"actions", r.Actions}, {"repositories", r.Repositories}} {
		for i, v := range list.values {
			if strings.TrimSpace(v) != v || v == "" {
				return c, wrong(fmt.Sprintf("%s.%s[%d]", field, list.name, i), "%q: allowed is a value that is not empty and has no space around it", v)
			}
		}
	}

	c.mediaTypes, c.actions = slices.Clone(r.MediaTypes), slices.Clone(r.Actions)
	var globs []string
	for i, v := range r.Repositories {
		if strings.ContainsAny(v, "[]{}\\!") {
			return c, wrong(fmt.Sprintf("%s.repositories[%d]", field, i), "%q: allowed are names and the patterns *, ** and ?", v)
		}
		if strings.ContainsAny(v, "*?") {
			globs = append(globs, glob(v))
		} else {
			c.names = append(c.names, v)
		}
	}
	if len(globs) > 0 {
		c.globs, err = regexp.Compile(`^(?:` + strings.Join(globs, "|") + `)$`)
	}
	return c, err
}

func glob(pattern string) string {
	g := regexp.QuoteMeta(pattern)
	g = strings.ReplaceAll(g, `\*\*`, `.*`)
	g = strings.ReplaceAll(g, `\*`, `[^/]*`)
	return strings.ReplaceAll(g, `\?`, `[^/]`)
}

func (r *rules) empty() bool {
	return len(r.mediaTypes) == 0 && len(r.actions) == 0 && !r.hasRepositories()
}

func (r *rules) hasRepositories() bool { return len(r.names) > 0 || r.globs != nil }

func (r *rules) matchRepository(name string) bool {
	return name != "" && (slices.Contains(r.names, name) || r.globs != nil && r.globs.MatchString(name))
}

func (r *rules) matchRepositories(e *Event) bool {
	return r.matchRepository(e.Target.Repository) ||
		e.Action == ActionRename && r.matchRepository(e.Target.FromRepository)
}

// passes says whether the sink is to get the event.
func (m *matcher) passes(e *Event) bool {
	if m.images && !isOfImage(e) {
		return false
	}
	if len(m.only.mediaTypes) > 0 && !slices.Contains(m.only.mediaTypes, e.Target.MediaType) ||
		len(m.only.actions) > 0 && !slices.Contains(m.only.actions, e.Action) ||
		m.only.hasRepositories() && !m.only.matchRepositories(e) {
		return false
	}
	return !(slices.Contains(m.ignore.mediaTypes, e.Target.MediaType) ||
		slices.Contains(m.ignore.actions, e.Action) ||
		m.ignore.hasRepositories() && m.ignore.matchRepositories(e))
}

// isOfImage says whether an event tells of a whole image. Nothing but a manifest or a tag
// itself comes with a tag, whether or not its sender says what it is.
func isOfImage(e *Event) bool {
	t := &e.Target
	if t.Tag == "" || t.Type == TypeBlob || t.Type == TypeRepository {
		return false
	}
	switch e.Action {
	case ActionPush, ActionPull:
		return t.Type != TypeTag
	case ActionDelete:
		return t.Type != TypeManifest
	}
	return false
}

// filterSink lets some events through to the sink behind it; the others are
// settled at once.
type filterSink struct {
	sink    Sink
	matcher matcher
	door    *intake
}

var (
	_ Sink      = (*filterSink)(nil)
	_ Deliverer = (*filterSink)(nil)
)

// NewFilter returns a Sink that takes every event and passes to sink only those
// that the filter lets through. Its Close closes sink. A filter that lets
// everything through returns sink itself.
func NewFilter(sink Sink, filter Filter) (Sink, error) {
	if sink == nil {
		return nil, errors.New("notifications: filter: sink: nil")
	}
	m, err := filter.compile()
	if err != nil {
		return nil, fmt.Errorf("notifications: filter: %w", err)
	}
	if m.only.empty() && m.ignore.empty() && !m.images {
		return sink, nil
	}
	return &filterSink{sink: sink, matcher: m, door: newIntake()}, nil
}

func (s *filterSink) Write(ctx context.Context, events ...*Event) error {
	return s.door.run(ctx, func(ctx context.Context) error {
		if err := validate(events); err != nil {
			return err
		}
		passed := s.pass(nil, events)
		if len(passed) == 0 {
			return nil
		}
		return s.sink.Write(ctx, passed...)
	})
}

func (s *filterSink) Deliver(ctx context.Context, events ...*Event) (int, error) {
	return deliverValid(ctx, s, events)
}

func (s *filterSink) deliver(ctx context.Context, events []*Event) (out outcome, err error) {
	err = s.door.run(ctx, func(ctx context.Context) error {
		passed := s.pass(make([]*Event, 0, len(events)), events)
		if len(passed) == 0 {
			out.filtered = len(events)
			return nil
		}

		var err error
		out, err = deliver(ctx, s.sink, passed)
		out.filtered += s.between(events, passed, out.settled())
		return err
	})
	return out, err
}

func (s *filterSink) pass(dst, events []*Event) []*Event {
	for _, e := range events {
		if s.matcher.passes(e.read()) {
			dst = append(dst, e)
		}
	}
	return dst
}

// between counts the events that were filtered out of the front of a block of
// which the first n that passed are settled: up to the next one that passed.
func (s *filterSink) between(events, passed []*Event, n int) int {
	if n == len(passed) {
		return len(events) - n
	}
	filtered, seen := 0, 0
	for _, e := range events {
		// The same pointer may stand in a block twice: count, do not search.
		if seen < len(passed) && e == passed[seen] {
			if seen == n {
				break
			}
			seen++
			continue
		}
		filtered++
	}
	return filtered
}

func (s *filterSink) Close(ctx context.Context) error {
	return s.door.close(ctx, s.sink.Close)
}

func (s *filterSink) drain(restIsKept bool) {
	if d, ok := s.sink.(drainer); ok {
		d.drain(restIsKept)
	}
}

func (s *filterSink) maxEvents() int { return blockSize(s.sink) }
