package clustertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/jetstream"
)

// publisher is an instance that only writes. Each of its writers has repositories of its own.
type publisher struct {
	name   string
	config jetstream.Config
	hub    atomic.Pointer[jetstream.Hub] // another one after a restart
	links  links

	written  atomic.Int64 // events whose Write returned nil
	failures atomic.Int64 // Writes that did not
	full     atomic.Int64 // of these, those that said that there is no room
	slowest  atomic.Int64 // how long a Write took, at most
}

const (
	writersEach      = 2
	repositoriesEach = 8
	patienceOfWriter = time.Second // as a bridge has it
	patienceOfSpill  = time.Minute // which takes no longer than the disk, whatever that is
)

// write writes blocks of events until stop is closed. What could not be written is written
// again, as its caller would.
func (p *publisher) write(l *ledger, writer int, seed uint64, stop <-chan struct{}) {
	random := rand.New(rand.NewPCG(seed, uint64(writer)))
	for {
		var block []*notifications.Event
		for range 1 + random.IntN(8) {
			block = append(block, l.next(fmt.Sprintf("%s/%d/%d", p.name, writer, random.IntN(repositoriesEach))))
		}
		for !p.try(block) {
			time.Sleep(10 * time.Millisecond)
		}
		p.written.Add(int64(len(block)))
		select {
		case <-time.After(20 * time.Millisecond): // the servers have one machine
		case <-stop:
			return
		}
	}
}

func (p *publisher) try(block []*notifications.Event) bool {
	patience := patienceOfWriter
	if p.spills() {
		patience = patienceOfSpill
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	start := time.Now()
	err := p.hub.Load().Write(ctx, block...)
	p.slowest.Store(max(p.slowest.Load(), int64(time.Since(start))))
	if err != nil {
		p.failures.Add(1)
		if full := (*jetstream.FullError)(nil); errors.As(err, &full) {
			p.full.Add(1)
		}
		p.config.Logger.WithError(err).WithField("after", time.Since(start)).Debug("a Write has failed")
	}
	return err == nil
}

// spills says whether its Writes go on without the cluster.
func (p *publisher) spills() bool { return p.config.Spill.Dir != "" }
