package jetstream

import (
	"context"
	"errors"

	"github.com/registry-notifications/notifications/jetstream"
	"github.com/registry-notifications/notifications/middleware"
)

func init() { middleware.RegisterHub("jetstream", open, middleware.Durable) }

// hub is one with the connection that it runs over.
type hub struct {
	*jetstream.Hub
	connection *connection
}

func open(ctx context.Context, o options, setup middleware.HubSetup) (middleware.Hub, error) {
	config, err := o.config(setup.Logger)
	if err != nil {
		return nil, err
	}
	c, err := o.connect(setup.Logger)
	if err != nil {
		return nil, err
	}
	h, err := openOver(ctx, c, config, setup)
	if err != nil {
		c.Close()
		return nil, o.ofOption(err)
	}
	return h, nil
}

func openOver(ctx context.Context, c *connection, config jetstream.Config, setup middleware.HubSetup) (*hub, error) {
	letters := newDeadLetters(&config)
	if config.Hub.DeadLetters = setup.DeadLetters; config.Hub.DeadLetters == nil {
		config.Hub.DeadLetters = letters
	}
	h, err := jetstream.Open(ctx, c.Conn, config)
	if err != nil {
		return nil, err
	}
	if config.Hub.DeadLetters == letters { // last: what is wrong in the configuration is found by then
		if err := letters.open(ctx, c.Conn, &config); err != nil {
			return nil, errors.Join(err, h.Close(ctx))
		}
	}
	return &hub{h, c}, nil
}

// Close closes the hub, and then the connection.
func (h *hub) Close(ctx context.Context) error {
	err := h.Hub.Close(ctx)
	h.connection.Close()
	return err
}
