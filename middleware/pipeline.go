package middleware

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications"
)

var errDrainTimeout = errors.New("notifications: draintimeout is over")

// pipeline is all that runs for one application: a bridge that writes to a hub with
// one endpoint for each webhook. Its secrets are behind pointers, where %+v does
// not follow.
type pipeline struct {
	bridge  *notifications.Bridge
	hub     Hub
	letters *notifications.DeadLetterFile // nil: the hub or the endpoints keep their own
	log     *logrus.Entry

	// Close lets the hub deliver until draintimeout is over. Every call returns the first
	// one's result.
	Close func() error
}

// newPipeline returns a running pipeline, or an error and nothing that runs. The
// context is the application's.
func newPipeline(ctx context.Context, d *document, values map[string]any) (*pipeline, *options, error) {
	o, err := d.parse(values)
	if err != nil {
		return nil, nil, err
	}
	// Of the application's logger only the fields can be had.
	logger := logrus.NewEntry(logrus.StandardLogger())
	instance, _ := ctx.Value("instance.id").(string)
	if instance != "" {
		logger = logger.WithField("instance.id", instance)
	}
	config, err := o.bridge()
	if err != nil {
		return nil, nil, err
	}
	config.Logger = logger
	if instance != "" {
		// What the server calls itself in its log finds its events, too.
		config.Source.InstanceID = instance
	}

	hub, err := hubs.openHub(ctx, d, o, logger)
	if err != nil {
		return nil, nil, err
	}
	p := &pipeline{hub: hub, log: logger}
	p.Close = sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeoutCause(context.Background(), o.DrainTimeout, errDrainTimeout)
		defer cancel()
		return p.close(ctx)
	})
	if err := p.start(config, o); err != nil {
		_ = p.Close() // nothing was written yet, so it does not wait
		return nil, nil, err
	}
	return p, o, nil
}

// start fills the pipeline. What it has opened before an error, Close closes.
func (p *pipeline) start(config notifications.BridgeConfig, o *options) (err error) {
	if p.bridge, err = notifications.NewBridge(p.hub, config); err != nil {
		return at(root, err)
	}
	if p.letters, err = o.DeadLetters.open(p.log); err != nil {
		return err
	}
	for i, c := range o.Endpoints {
		if c.Disabled {
			continue
		}
		if err := p.add(c); err != nil {
			return at(endpointPath(i), err)
		}
	}
	return nil
}

func endpointPath(i int) string { return fmt.Sprintf("%s.endpoints[%d]", root, i) }

// add starts an endpoint and puts it into the hub, where Close finds it.
func (p *pipeline) add(config notifications.EndpointConfig) error {
	config.Logger = p.log
	if p.letters != nil {
		config.DeadLetters = p.letters
	}
	endpoint, err := notifications.NewEndpoint(config.Name, config.URL, config)
	if err != nil {
		return err
	}
	if err := p.hub.Add(config.Name, endpoint); err != nil {
		return errors.Join(err, endpoint.Close(context.Background()))
	}
	return nil
}

// close closes the hub, and then where it puts its dead letters.
func (p *pipeline) close(ctx context.Context) error {
	err := p.hub.Close(ctx)
	for name, m := range p.hub.Metrics() {
		if m.Pending > 0 {
			p.log.WithFields(logrus.Fields{"endpoint": name, "pending": m.Pending}).Info("notifications: what is pending is kept for the next start")
		}
	}
	if p.letters != nil {
		err = errors.Join(err, p.letters.Close())
	}
	return err
}
