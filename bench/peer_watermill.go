package main

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"time"

	watermill "github.com/ThreeDotsLabs/watermill-http/v2/pkg/http"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
)

const (
	goChannel     = "gochannel"
	watermillHTTP = "watermill-http"
)

// goChannelHub is a gochannel whose subscribers take nothing.
type goChannelHub struct {
	*gochannel.GoChannel
	maker *maker
}

var _ writer = (*goChannelHub)(nil)

const topic = "events"

func startGoChannel(subscribers int) (*goChannelHub, error) {
	g := gochannel.NewGoChannel(gochannel.Config{}, nil)
	for range subscribers {
		if _, err := g.Subscribe(context.Background(), topic); err != nil {
			return nil, err
		}
	}
	return &goChannelHub{g, newMaker()}, nil
}

func (h *goChannelHub) prepare(n int) func(int) error {
	events := messages(h.maker, n)
	return func(i int) error {
		m := events[i]
		events[i] = nil
		return h.Publish(topic, m)
	}
}

func (h *goChannelHub) stop() error { return h.Close() }

// messages are events of ours, encoded.
func messages(m *maker, n int) []*message.Message {
	all := make([]*message.Message, n)
	for i := range all {
		e := m.ours()
		body, err := e.MarshalJSON()
		if err != nil {
			panic(err) // it is made of plain text
		}
		all[i] = message.NewMessage(e.ID, body)
	}
	return all
}

// deliverWatermill returns how many messages a second watermill-http publishes, one
// a POST, which are encoded before the clock starts.
func deliverWatermill(n int) (rate float64, err error) {
	r, err := newReceiver(conduct{}, false)
	if err != nil {
		return 0, err
	}
	p, err := watermill.NewPublisher(watermill.PublisherConfig{MarshalMessageFunc: watermill.DefaultMarshalMessageFunc}, nil)
	if err != nil {
		return 0, err
	}
	all := messages(newMaker(), n)
	runtime.GC()

	start := time.Now()
	for _, m := range all {
		if err := p.Publish(r.url, m); err != nil {
			return 0, err
		}
	}
	rate = float64(n) / time.Since(start).Seconds()

	if had := r.posts.Load(); had != int64(n) {
		return 0, fmt.Errorf("%d posts of %d", had, n)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if err := p.Close(); err != nil {
		return 0, err
	}
	return rate, r.close()
}
