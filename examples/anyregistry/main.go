// Anyregistry puts one http.Handler around a registry that knows nothing of
// notifications, go-containerregistry's, and prints what happens in it.
//
// Without arguments it has a real client, crane, push, pull, tag and delete an image,
// and ends. With -serve it runs the registry for a client of your own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/ociregistry"
)

func main() {
	serve := flag.Bool("serve", false, "keep the registry running for a client of your own")
	addr := flag.String("addr", "127.0.0.1:5000", "where to listen with -serve")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	out := &screen{to: os.Stdout}
	var err error
	if *serve {
		err = run(ctx, *addr, out, waitForYou(out))
	} else {
		err = run(ctx, "127.0.0.1:0", out, demonstrate(out))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "anyregistry:", err)
		os.Exit(1)
	}
}

// run serves a registry whose events go to a sink, as long as use takes.
func run(ctx context.Context, addr string, sink notifications.Sink, use func(ctx context.Context, host string) error) error {
	// A hub holds the events and hands them to its sinks. This one is a screen; a webhook
	// is what notifications.NewEndpoint returns.
	hub, err := notifications.NewBroadcaster(notifications.HubConfig{})
	if err != nil {
		return err
	}
	if err := hub.Add("screen", sink); err != nil {
		return err
	}

	// Any registry will do: what speaks the OCI protocol is an http.Handler.
	anyRegistry := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	handler := ociregistry.Handler(anyRegistry, hub, ociregistry.Config{})

	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return errors.Join(err, hub.Close(ctx))
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener)
	used := use(ctx, listener.Addr().String())

	// First the server and then the hub: what the last requests made goes out.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(used, server.Shutdown(ctx), hub.Close(ctx))
}
