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

	p := &pipeline{log: logger}
	p.Close = sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeoutCause(context.Background(), o.DrainTimeout, errDrainTimeout)
		defer cancel()
		return p.close(ctx)
	})
	if err := p.start(ctx, d, config, o); err != nil {
		_ = p.Close() // nothing was written yet, so it does not wait
		return nil, nil, err
	}
	return p, o, nil
}

// start fills the pipeline. What it has opened before an error, Close closes. The hub comes
// last: to open one may forget what the YAML says, which all else in there has to be right
// for.
func (p *pipeline) start(ctx context.Context, d *document, config notifications.BridgeConfig, o *options) (err error) {
	if err := config.Validate(); err != nil {
		return at(root, err)
	}
	if p.letters, err = o.DeadLetters.open(p.log); err != nil {
		return err
	}
	endpoints, err := p.endpoints(o)
	if err != nil {
		return err
	}
	setup := HubSetup{Endpoints: o.enabled(), Logger: p.log}
	if p.letters != nil { // a file that is nil would not be nil there
		setup.DeadLetters = p.letters
	}
	if p.hub, err = hubs.openHub(ctx, d, o, setup); err != nil {
		return errors.Join(err, closeAll(endpoints))
	}
	for i, e := range endpoints {
		if e == nil {
			continue
		}
		if err := p.hub.Add(e.Name(), e); err != nil {
			return errors.Join(at(endpointPath(i), err), closeAll(endpoints[i:]))
		}
	}
	p.bridge, err = notifications.NewBridge(p.hub, config)
	return err
}

// endpoints makes them, with nil in the place of each that is disabled, or returns an error.
func (p *pipeline) endpoints(o *options) ([]*notifications.Endpoint, error) {
	all := make([]*notifications.Endpoint, len(o.Endpoints))
	for i, c := range o.Endpoints {
		if c.Disabled {
			continue
		}
		c.Logger = p.log
		if p.letters != nil {
			c.DeadLetters = p.letters
		}
		e, err := notifications.NewEndpoint(c.Name, c.URL, c)
		if err != nil {
			return nil, errors.Join(at(endpointPath(i), err), closeAll(all))
		}
		all[i] = e
	}
	return all, nil
}

func closeAll(endpoints []*notifications.Endpoint) error {
	var errs []error
	for _, e := range endpoints {
		if e != nil {
			errs = append(errs, e.Close(context.Background()))
		}
	}
	return errors.Join(errs...)
}

func endpointPath(i int) string { return fmt.Sprintf("%s.endpoints[%d]", root, i) }

// close closes the hub, and then where it puts its dead letters.
func (p *pipeline) close(ctx context.Context) (err error) {
	if p.hub != nil {
		err = p.hub.Close(ctx)
		for name, m := range p.hub.Metrics() {
			if m.Pending > 0 {
				p.log.WithFields(logrus.Fields{"endpoint": name, "pending": m.Pending}).Info("notifications: what is pending is kept for the next start")
			}
		}
	}
	if p.letters != nil {
		err = errors.Join(err, p.letters.Close())
	}
	return err
}
