package middleware

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications"
)

var errDrainTimeout = errors.New("notifications: draintimeout is over")

// pipeline is all that runs for one application: a bridge that writes to a hub with
// one endpoint for each webhook. Its secrets are behind pointers, where %+v does
// not follow.
type pipeline struct {
	bridge *notifications.Bridge
	hub    *notifications.Broadcaster
	log    *logrus.Entry

	// Close delivers what is in memory until draintimeout is over. Every call returns
	// the first one's result.
	Close func() error
}

// newPipeline returns a running pipeline, or an error and nothing that runs. The
// context is the application's.
func newPipeline(ctx context.Context, o *options) (p *pipeline, err error) {
	// Of the application's logger only the fields can be had.
	logger := logrus.NewEntry(logrus.StandardLogger())
	instance, _ := ctx.Value("instance.id").(string)
	if instance != "" {
		logger = logger.WithField("instance.id", instance)
	}

	config, err := bridgeConfig(o)
	if err != nil {
		return nil, err
	}
	config.Logger = logger
	if instance != "" {
		// What the server calls itself in its log finds its events, too.
		config.Source.InstanceID = instance
	}

	hub, err := notifications.NewBroadcaster(notifications.HubConfig{Logger: logger})
	if err != nil {
		return nil, &optionError{root, err}
	}
	p = &pipeline{hub: hub, log: logger, Close: sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeoutCause(context.Background(), time.Duration(o.DrainTimeout), errDrainTimeout)
		defer cancel()
		return hub.Close(ctx)
	})}
	defer func() {
		if err != nil {
			_ = p.Close() // nothing was written yet, so it does not wait
			p = nil
		}
	}()

	if p.bridge, err = notifications.NewBridge(hub, config); err != nil {
		return p, at(root, err)
	}
	for i, c := range o.Endpoints {
		c.Logger = logger
		if err := p.add(fmt.Sprintf("%s.endpoints[%d]", root, i), c); err != nil {
			return p, err
		}
	}
	return p, nil
}

// add starts an endpoint and puts it into the hub, where Close finds it.
func (p *pipeline) add(path string, config notifications.EndpointConfig) error {
	if config.Disabled {
		return nil
	}
	switch _, used := p.hub.Metrics()[config.Name]; {
	case config.Name == "":
		return &optionError{path + ".name", errors.New("empty: allowed is any other")}
	case used:
		return &optionError{path + ".name", fmt.Errorf("%q: is in use: allowed is any other", config.Name)}
	}

	endpoint, err := notifications.NewEndpoint(config.Name, config.URL, config)
	if err != nil {
		return at(path, err)
	}
	if err := p.hub.Add(config.Name, endpoint); err != nil {
		return errors.Join(&optionError{path, err}, endpoint.Close(context.Background()))
	}
	return nil
}

func bridgeConfig(o *options) (config notifications.BridgeConfig, err error) {
	config = notifications.BridgeConfig{
		IncludeReferences: o.Events.IncludeReferences,
		DispatchTimeout:   time.Duration(o.DispatchTimeout),
		TrustedProxies:    o.TrustedProxies,
		TrustBasicUser:    o.TrustBasicUser,
	}
	if config.Source, err = notifications.NewSource(o.Addr); err != nil {
		return config, at(root, err)
	}
	if o.URL != "" {
		if config.URLs, err = notifications.NewURLBuilder(o.URL); err != nil {
			return config, at(root, err)
		}
	}
	return config, nil
}
