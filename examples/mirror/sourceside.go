package main

import (
	"context"
	"errors"
	"flag"
	"net/http"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/journal"
	"github.com/registry-notifications/notifications/ociregistry"
)

// sourceStatus is what the source side tells of itself.
type sourceStatus struct {
	Pending uint64 // events that the mirror side has still to be sent
}

// runSourceSide serves a registry that tells a webhook what happens in it, until ctx ends.
func runSourceSide(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("source", flag.ContinueOnError)
	dir := flags.String("dir", "", "`directory` for all that has to survive")
	addr := flags.String("addr", "127.0.0.1:0", "where to listen")
	hook := flags.String("webhook", "", "`URL` that gets the events")
	if err := flags.Parse(args); err != nil {
		return err
	}

	hub, err := journal.Open(filepath.Join(*dir, "events"), journal.Config{})
	if err != nil {
		return err
	}
	defer ends(&err, hub.Close)
	endpoint, err := notifications.NewEndpoint("mirror", *hook, notifications.EndpointConfig{
		SigningKeys: []string{keySpec},
		Backoff:     50 * time.Millisecond, MaxBackoff: 500 * time.Millisecond,
		// The mirror pulls what it copies, and need not be told.
		Ignore: notifications.Rules{Actions: []string{notifications.ActionPull}},
	})
	if err != nil {
		return err
	}
	if err := hub.Add("mirror", endpoint); err != nil {
		return errors.Join(err, endpoint.Close(ctx))
	}

	registry, err := newRegistry(filepath.Join(*dir, "content"))
	if err != nil {
		return err
	}
	defer ends(&err, registry.close)
	source, err := notifications.NewSource(*addr)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/v2/", ociregistry.Handler(registry, hub, ociregistry.Config{BridgeConfig: notifications.BridgeConfig{
		Source: source,
		// A client had rather wait than have what it did go unheard.
		DispatchTimeout: 10 * time.Second,
	}}))
	server, err := serve(*addr, mux)
	if err != nil {
		return err
	}
	defer ends(&err, server.Shutdown)

	if err := check(ctx, hub, server.Addr); err != nil {
		return err
	}
	mux.Handle(statusPath, status(func() any {
		return sourceStatus{hub.Metrics()["mirror"].Pending}
	}))
	<-ctx.Done()
	return nil
}

// check has the mirror look at every repository. A run that was killed may have stored or
// deleted something, and been killed before it could tell. (No client has heard that this was
// done, but it was.)
func check(ctx context.Context, hub notifications.Sink, host string) error {
	registry, err := name.NewRegistry(host, name.Insecure)
	if err != nil {
		return err
	}
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	repositories, err := remote.Catalog(ctx, registry, remote.WithTransport(transport))
	if err != nil {
		return err
	}
	for _, repository := range repositories {
		e := notifications.NewEvent(actionCheck)
		e.Target.Type, e.Target.Repository = notifications.TypeRepository, repository
		if err := hub.Write(ctx, e); err != nil {
			return err
		}
	}
	return nil
}
