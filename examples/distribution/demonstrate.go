package main

import (
	"context"
	_ "embed"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
)

//go:embed config.yml
var config string

var errTooLong = errors.New("was not done after a minute")

// demonstrate runs two servers, one after the other, with a webhook that is not ready
// for a time.
func demonstrate(ctx context.Context, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errTooLong)
	defer cancel()
	dir, err := os.MkdirTemp("", "registry-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	hook, err := startWebhook(out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, hook.server.Close()) }()

	// The configuration as it stands beside this file, with places that are free.
	path := filepath.Join(dir, "config.yml")
	here := strings.NewReplacer(
		"127.0.0.1:5000", "127.0.0.1:0", "127.0.0.1:5001", hook.addr, "/tmp/", dir+"/",
	).Replace(config)
	if err := os.WriteFile(path, []byte(here), 0o600); err != nil {
		return err
	}
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	options := []crane.Option{crane.WithContext(ctx), crane.WithTransport(transport), crane.Insecure}

	err = withServer(ctx, path, func(host string) error {
		hook.print("A stock server at "+host+" tells a webhook at "+hook.addr+".", "", "crane push and pull")
		if err := push(host, "v1", options...); err != nil {
			return err
		}
		if err := hook.wait(ctx, 3); err != nil {
			return err
		}
		if err := pull(host, "v1", options...); err != nil {
			return err
		}
		if err := hook.wait(ctx, 6); err != nil {
			return err
		}
		hook.print("", "The webhook refuses. crane push of v2, and the server ends.")
		hook.refuse(true)
		if err := push(host, "v2", options...); err != nil {
			return err
		}
		return hook.waitRefused(ctx)
	})
	if err != nil {
		return err
	}

	hook.print("", "The webhook is back. So is the server, with what it had in its journal:")
	hook.refuse(false)
	err = withServer(ctx, path, func(string) error { return hook.wait(ctx, 9) })
	if err != nil {
		return err
	}
	hook.print("", "All 9 events have come.")
	return nil
}

// withServer runs a server as long as use takes.
func withServer(ctx context.Context, config string, use func(host string) error) error {
	s, err := startServer(ctx, config)
	if err != nil {
		return err
	}
	return errors.Join(use(s.host), s.stop())
}

const repository = "/library/app:"

// push pushes an image with one layer, another for each tag.
func push(host, tag string, options ...crane.Option) error {
	image, err := crane.Image(map[string][]byte{"etc/version": []byte(tag)})
	if err != nil {
		return err
	}
	return crane.Push(image, host+repository+tag, options...)
}

// pull pulls an image with all its layers. crane pull alone gets a layer when somebody
// reads it.
func pull(host, tag string, options ...crane.Option) error {
	image, err := crane.Pull(host+repository+tag, options...)
	if err != nil {
		return err
	}
	if _, err := image.RawConfigFile(); err != nil {
		return err
	}
	return crane.Export(image, io.Discard)
}
