// Customsink has a Sink of its own, which writes events to a file as JSON lines.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/registry-notifications/notifications"
)

func main() {
	switch err := run(context.Background(), os.Stdout, os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "customsink:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, stdout io.Writer, args []string) error {
	flags := flag.NewFlagSet("customsink", flag.ContinueOnError)
	path := flags.String("o", "", "the file to append to; a temporary one by default")
	if err := flags.Parse(args); err != nil {
		return err
	}
	file, err := open(*path)
	if err != nil {
		return err
	}

	hub, err := notifications.NewBroadcaster(notifications.HubConfig{})
	if err != nil {
		return errors.Join(err, file.Close())
	}
	sink := &jsonLines{to: file}
	if err := hub.Add("file", sink); err != nil {
		return errors.Join(err, hub.Close(ctx), sink.Close(ctx))
	}
	err = errors.Join(write(ctx, hub), closeHub(ctx, hub))

	content, readErr := os.ReadFile(file.Name())
	fmt.Fprintf(stdout, "%s:\n%s", file.Name(), content)
	return errors.Join(err, readErr)
}

func open(path string) (*os.File, error) {
	if path == "" {
		return os.CreateTemp("", "events-*.jsonl")
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
}

// write stands for a registry.
func write(ctx context.Context, sink notifications.Sink) error {
	for _, what := range []struct{ action, of string }{
		{notifications.ActionPush, notifications.TypeManifest},
		{notifications.ActionPull, notifications.TypeManifest},
		{notifications.ActionDelete, notifications.TypeTag},
	} {
		e := notifications.NewEvent(what.action)
		e.Target = notifications.Target{Type: what.of, Repository: "library/app", Tag: "v1"}
		if err := sink.Write(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// closeHub lets the events go out, and closes the sink.
func closeHub(ctx context.Context, hub *notifications.Broadcaster) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return hub.Close(ctx)
}
