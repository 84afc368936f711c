package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/registry-notifications/notifications"
)

// ourHub is a hub of ours with its endpoints.
type ourHub struct {
	*notifications.Hub
	endpoints []*notifications.Endpoint
	to        *receiver
	maker     *maker
}

var _ system = (*ourHub)(nil)

func startOurs(s setup) (system, error) { return newOurHub(s) }

func newOurHub(s setup) (*ourHub, error) {
	b, err := notifications.NewBroadcaster(notifications.HubConfig{})
	if err != nil {
		return nil, err
	}
	return addEndpoints(b.Hub, s)
}

// addEndpoints adds the endpoints to a hub, and brings their receiver.
func addEndpoints(h *notifications.Hub, s setup) (*ourHub, error) {
	r, err := newReceiver(s.conduct, s.dead)
	if err != nil {
		return nil, err
	}
	o := &ourHub{Hub: h, to: r, maker: newMaker()}
	o.maker.unshared = s.unshared
	if err := o.add(s); err != nil {
		return nil, err
	}
	if s.dead {
		return o, hang(o)
	}
	return o, nil
}

func (o *ourHub) add(s setup) error {
	var config notifications.EndpointConfig
	if s.single {
		config.MaxEvents = 1
	}
	if s.dead {
		config.Timeout = patience
	}
	for i := range s.endpoints {
		e, err := notifications.NewEndpoint(strconv.Itoa(i), o.to.url, config)
		if err != nil {
			return err
		}
		if err := o.Add(e.Name(), e); err != nil {
			return err
		}
		o.endpoints = append(o.endpoints, e)
	}
	return nil
}

func (o *ourHub) prepare(n int) func(int) error {
	return prepared(n, o.maker.ours, func(e *notifications.Event) error { return o.Write(context.Background(), e) })
}

func (o *ourHub) delivered() (n int) {
	for _, e := range o.endpoints {
		n += int(e.Metrics().Delivered)
	}
	return n
}

func (o *ourHub) pending() (n int) {
	for _, e := range o.endpoints {
		n += int(e.Metrics().Pending)
	}
	return n
}

func (o *ourHub) fanout() int         { return len(o.endpoints) }
func (o *ourHub) receiver() *receiver { return o.to }

func (o *ourHub) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for name, m := range o.Metrics() {
		if m.Pending == 0 {
			continue
		}
		if err := o.Remove(ctx, name); err != nil { // Close would deliver them
			return fmt.Errorf("removing endpoint %s: %w", name, err)
		}
	}
	errs := []error{o.Close(ctx)}
	for _, e := range o.endpoints {
		errs = append(errs, e.Close(ctx)) // those removed are ours again
	}
	return errors.Join(append(errs, o.to.close())...)
}
