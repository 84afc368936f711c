package main

import (
	"context"
	"flag"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/journal"
	"github.com/registry-notifications/notifications/observer"
	"github.com/registry-notifications/notifications/receiver"
	"github.com/registry-notifications/notifications/signature"
)

// mirrorStatus is what the mirror side tells of itself.
type mirrorStatus struct {
	Last       uint64 // position of the last event that it was sent
	Done       uint64 // position up to which the target is in step
	Duplicates uint64 // events that came a second time, since the start
	Failed     int    // repositories that could not be copied
}

// runMirrorSide takes the events of a registry, and keeps another one in step with it,
// until ctx ends.
func runMirrorSide(ctx context.Context, out io.Writer, args []string) (err error) {
	flags := flag.NewFlagSet("mirror", flag.ContinueOnError)
	dir := flags.String("dir", "", "`directory` for all that has to survive")
	addr := flags.String("addr", "127.0.0.1:0", "where to listen for events")
	from := flags.String("source", "", "registry to copy from")
	to := flags.String("target", "", "registry to keep in step")
	terminal := flags.Bool("terminal", false, "draw the progress bar over and over on one line")
	if err := flags.Parse(args); err != nil {
		return err
	}
	source, err := name.NewRegistry(*from, name.Insecure)
	if err != nil {
		return err
	}
	target, err := name.NewRegistry(*to, name.Insecure)
	if err != nil {
		return err
	}
	key, err := signature.LoadKey(keySpec)
	if err != nil {
		return err
	}

	// What has come is on disk before the sender has its answer. The observer reads it from
	// there, at its own pace.
	events, err := journal.Open(filepath.Join(*dir, "events"), journal.Config{})
	if err != nil {
		return err
	}
	defer ends(&err, events.Close)
	incoming, err := receiver.New(events, receiver.Config{Keys: []signature.Key{key}})
	if err != nil {
		return err
	}

	states, err := observer.OpenFile(filepath.Join(*dir, "states"))
	if err != nil {
		return err
	}
	defer ends(&err, func(context.Context) error { return states.Close() })
	manifests, err := observer.OpenFile(filepath.Join(*dir, "copied"))
	if err != nil {
		return err
	}
	defer ends(&err, func(context.Context) error { return manifests.Close() })
	copied, err := openLedger(ctx, manifests)
	if err != nil {
		return err
	}
	transport := &http.Transport{ResponseHeaderTimeout: time.Minute}
	defer transport.CloseIdleConnections()
	processor, err := newMirror(source, target, transport, copied)
	if err != nil {
		return err
	}

	watcher, err := observer.New(observer.Config{
		Feeds:     map[string]notifications.Feed{"source": events},
		Store:     states,
		Processor: processor,
		Progress:  (&bar{to: out, terminal: *terminal}).show,

		// The journal keeps what is not copied yet.
		Hold: "mirror",
		// A registry may be away for some minutes. To give a repository up means that it is
		// out of step until something happens in it.
		Retries: 100,
		Backoff: 50 * time.Millisecond,
	})
	if err != nil {
		return err
	}

	mux := http.NewServeMux()
	mux.Handle("/events", incoming)
	server, err := serve(*addr, mux)
	if err != nil {
		return err
	}
	// From here on backwards: nothing comes in, then what has come is in the journal.
	defer ends(&err, incoming.Close)
	defer ends(&err, server.Shutdown)
	mux.Handle(statusPath, status(func() any {
		stat := watcher.Stat()["source"]
		return mirrorStatus{events.Last(), stat.Position, incoming.Metrics().Duplicates, stat.Failed}
	}))
	return watcher.Watch(ctx)
}
