package middleware

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications"
)

// Hub is where a server's events are written to, and what hands them to the endpoints. A
// [notifications.Hub] is one, and so is whatever embeds one.
type Hub interface {
	notifications.Sink

	// Add hands a sink over under a name, which is that of an endpoint in the YAML. Close
	// closes it.
	Add(name string, sink notifications.Sink) error

	// Metrics returns the counts of each sink, after Close those that it had in the end:
	// what is pending then is said to be kept for the next start.
	Metrics() map[string]notifications.Metrics
}

// HubOpener opens a hub for one application: each gets one of its own. It is called when
// the server starts, with the application for its context, which should not be kept, and
// when all else in the YAML is known to be right.
//
// The options are the block of the YAML with the hub's name. An error keeps the server
// from starting. It is put behind the path of the block; that of a single option is a
// [notifications.ConfigError] with the option's path below the block, wrapped or not.
type HubOpener[O any] func(ctx context.Context, options O, setup HubSetup) (Hub, error)

// HubSetup is what the server has for each hub, whatever its options.
type HubSetup struct {
	// Endpoints are the names under which sinks will be added, and no others: of what else
	// a hub remembers from its last run, it can tell the operator.
	Endpoints []string

	// DeadLetters is where these put what they give up, or nil if the YAML says nothing of
	// it. Then it is up to the hub (see [notifications.HubConfig]).
	DeadLetters notifications.DeadLetterSink

	// Logger has the fields of the application. It is never nil.
	Logger *logrus.Entry
}

// RegisterHub has hub: name in the YAML open a hub of one's own. It is called from an init
// function, as those of a package that is imported for that alone.
//
// O is a struct whose fields are called in the YAML as their yaml tags say. They are text,
// booleans, whole numbers (int and int64), durations, or structs, lists and maps of these;
// int fields of a name that ends in bytes are sizes. The zero value stands for what is not
// in the YAML. It may hold secrets, and should not be printed.
//
// It panics if open is nil, O is no struct, or the name is in use, that of another option,
// or not of lower-case letters and digits with a letter in front.
func RegisterHub[O any](name string, open HubOpener[O], traits ...HubTrait) {
	t := reflect.TypeFor[O]()
	if open == nil || t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("middleware: hub %q: allowed is a function that takes a struct, and not nil", name))
	}
	if err := hubs.add(name, hubKind{opens(open), traits}); err != nil {
		panic("middleware: hub: " + err.Error())
	}
}

// HubTrait is what has to be known of a hub before it is opened.
type HubTrait string

// Durable is a hub that keeps its events elsewhere than in memory, and for longer than the
// server runs. The options of endpoints that bound what is in memory are an error then. It
// has to keep what endpoints give up for as long, where HubSetup.DeadLetters is nil.
const Durable HubTrait = "durable"

const (
	memoryHub  = "memory"
	journalHub = "journal"
)

// hubs are those that a YAML may choose from.
var hubs = hubTable{kinds: map[string]hubKind{
	memoryHub:  {open: opens(openMemory)},
	journalHub: {opens(openJournal), []HubTrait{Durable}},
}}

// hubKind is what is known of the hubs of one name.
type hubKind struct {
	open   opener
	traits []HubTrait
}

// opener decodes the block of a hub, which stands at path, and opens it.
type opener func(ctx context.Context, d *document, path string, block any, setup HubSetup) (Hub, error)

func opens[O any](open HubOpener[O]) opener {
	return func(ctx context.Context, d *document, path string, block any, setup HubSetup) (Hub, error) {
		var o O
		if err := d.decode(path, block, &o); err != nil {
			return nil, err
		}
		hub, err := open(ctx, o, setup)
		if err != nil {
			return nil, at(path, err)
		}
		if hub == nil {
			return nil, &optionError{path, errors.New("has opened no hub, and given no error")}
		}
		return hub, nil
	}
}

type hubTable struct {
	mu    sync.Mutex // guards kinds
	kinds map[string]hubKind
}

var hubName = regexp.MustCompile(`^[a-z][a-z0-9]*$`)

func (t *hubTable) add(name string, kind hubKind) error {
	if !hubName.MatchString(name) {
		return fmt.Errorf("name %q: allowed are lower-case letters and digits, with a letter in front", name)
	}
	own := reflect.TypeFor[options]()
	for i := range own.NumField() {
		if name == optionName(own.Field(i)) {
			return fmt.Errorf("name %q: is that of another option: allowed is any other", name)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.kinds[name]; ok {
		return fmt.Errorf("name %q: is in use: allowed is any other", name)
	}
	t.kinds[name] = kind
	return nil
}

// names returns those of all hubs, in order.
func (t *hubTable) names() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Sorted(maps.Keys(t.kinds))
}

func (t *hubTable) get(name string) (kind hubKind, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	kind, ok = t.kinds[name]
	return kind, ok
}

func (t *hubTable) has(name string, trait HubTrait) bool {
	kind, _ := t.get(name)
	return slices.Contains(kind.traits, trait)
}

// openHub opens the one that the options choose.
func (t *hubTable) openHub(ctx context.Context, d *document, o *options, setup HubSetup) (Hub, error) {
	kind, ok := t.get(o.Hub)
	if !ok {
		return nil, wrong(root+".hub", "%.*q: allowed are %s", mostShown, o.Hub, strings.Join(t.names(), ", "))
	}
	return kind.open(ctx, d, root+"."+o.Hub, o.hubBlock, setup)
}
