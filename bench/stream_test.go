package main

import (
	"reflect"
	"testing"
	"time"

	natsjetstream "github.com/nats-io/nats.go/jetstream"
)

// TestBareMessage: what is published without a hub is in the stream as a hub puts it there.
func TestBareMessage(t *testing.T) {
	c, err := startCluster(1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	p, err := c.newPublisher(c.config(8), true)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	hub, err := c.open(p.config)
	if err != nil {
		t.Fatal(err)
	}
	event := newMaker().ours()
	if err := hub.Write(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	if err := hub.close(); err != nil {
		t.Fatal(err)
	}
	stored, err := p.stream.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	m, err := p.message(event)
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range []string{
		natsjetstream.StreamHeader, natsjetstream.SequenceHeader, natsjetstream.TimeStampHeaer, natsjetstream.SubjectHeader,
	} {
		stored.Header.Del(of) // they are of the answer
	}
	if stored.Subject != m.Subject || string(stored.Data) != string(m.Data) || !reflect.DeepEqual(stored.Header, m.Header) {
		t.Errorf("a hub has\n%s %v %s\nthe bare one\n%s %v %s", stored.Subject, stored.Header, stored.Data, m.Subject, m.Header, m.Data)
	}
}

// TestScalePoint: what a smoke run leaves out works, too.
func TestScalePoint(t *testing.T) {
	c, err := startCluster(1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	rate, err := c.deliverAt(point{partitions: 4, instances: 2, pause: pause{anEvent: 10 * time.Microsecond}, events: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	if rate <= 0 {
		t.Errorf("%v events/s", rate)
	}
}
