package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/journal"
)

// ourJournal is a journal of ours with its endpoints, in a directory of its own.
type ourJournal struct {
	*ourHub
	journal *journal.Journal
	dir     string
}

var _ system = (*ourJournal)(nil)

func startJournal(sync journal.Sync) starter {
	return func(s setup) (system, error) { return newOurJournal(sync, s) }
}

// newOurJournal opens a new journal. A sink that is away keeps it from removing anything:
// nobody it is compared with removes what was written.
func newOurJournal(sync journal.Sync, s setup) (*ourJournal, error) {
	dir, err := os.MkdirTemp("", "bench-journal-")
	if err != nil {
		return nil, err
	}
	o, err := openOurJournal(filepath.Join(dir, "events"), journal.Config{Sync: sync}, s)
	if err != nil {
		return nil, err
	}
	return o, o.journal.Rewind("away", 0)
}

func openOurJournal(dir string, config journal.Config, s setup) (*ourJournal, error) {
	j, err := journal.Open(dir, config)
	if err != nil {
		return nil, err
	}
	h, err := addEndpoints(j.Hub, s)
	return &ourJournal{ourHub: h, journal: j, dir: dir}, err
}

// fill writes n events in blocks of as many as write at once elsewhere, and keeps none.
func (o *ourJournal) fill(n int) error {
	block := make([]*notifications.Event, gang)
	for left := n; left > 0; left -= len(block) {
		block = block[:min(left, gang)]
		for i := range block {
			block[i] = o.maker.ours()
		}
		if err := o.Write(context.Background(), block...); err != nil {
			return err
		}
	}
	return nil
}

// leave closes the journal and lets it keep what is pending.
func (o *ourJournal) leave() error {
	return errors.Join(closeJournal(o.journal), o.to.close())
}

// closeJournal closes a journal, without patience for receivers that are dead.
func closeJournal(j *journal.Journal) error {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	return j.Close(ctx)
}

// stop leaves nothing behind.
func (o *ourJournal) stop() error {
	return errors.Join(o.leave(), os.RemoveAll(filepath.Dir(o.dir)))
}
