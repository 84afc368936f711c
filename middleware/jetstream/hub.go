package jetstream

import (
	"context"

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
	config.Hub.DeadLetters = setup.DeadLetters // nil: the hub has a stream for them
	h, err := jetstream.Open(ctx, c.Conn, config)
	if err != nil {
		c.Close()
		return nil, o.ofOption(err)
	}
	return &hub{h, c}, nil
}

// Close closes the hub, and then the connection.
func (h *hub) Close(ctx context.Context) error {
	err := h.Hub.Close(ctx)
	h.connection.Close()
	return err
}
