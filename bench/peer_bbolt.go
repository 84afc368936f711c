package main

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/registry-notifications/notifications"
)

const (
	bboltName   = "bbolt"
	bboltBatch  = "bbolt Batch"
	bboltGather = "bbolt, gathered"
)

// boltLog is a bbolt database as a log: a bucket with positions for keys. What several
// writers bring while one transaction is on its way is the next one, as in a journal.
type boltLog struct {
	db    *bbolt.DB
	dir   string
	maker *maker
	last  uint64 // position; of whoever is in a transaction

	// batches has DB.Batch gather what the writers bring. It waits for as many as there
	// are: with its own defaults it would wait for its timer, and be many times slower.
	batches bool

	// alone has each event be a transaction: without a sync there is nothing to share.
	alone bool

	kick  chan struct{} // the committer has something to do
	ended chan struct{}

	mu   sync.Mutex // guards the rest
	open *boltBatch // takes events; nil until there is one
}

var _ writer = (*boltLog)(nil)

// boltBatch is events that are written together.
type boltBatch struct {
	values [][]byte
	done   chan struct{} // closed when they are, or err says why not
	err    error
}

var boltBucket = []byte("events")

func startBolt(sync bool) func() (writer, error) {
	return func() (writer, error) { return newBoltLog(sync) }
}

func startBoltAlone() (writer, error) {
	b, err := newBoltLog(false)
	if err != nil {
		return nil, err
	}
	b.alone = true
	return b, nil
}

func startBoltBatch() (writer, error) {
	b, err := newBoltLog(true)
	if err != nil {
		return nil, err
	}
	b.batches, b.db.MaxBatchSize = true, gang
	return b, nil
}

// newBoltLog opens a new database with the options that make it the fastest for this.
func newBoltLog(sync bool) (*boltLog, error) {
	dir, err := os.MkdirTemp("", "bench-bbolt-")
	if err != nil {
		return nil, err
	}
	db, err := bbolt.Open(filepath.Join(dir, "events.db"), 0o600, &bbolt.Options{
		NoSync: !sync, NoGrowSync: !sync,
		NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
		InitialMmapSize: 1 << 30,
	})
	if err != nil {
		return nil, err
	}
	b := &boltLog{db: db, dir: dir, maker: newMaker(), kick: make(chan struct{}, 1), ended: make(chan struct{})}
	go b.commit()
	return b, db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(boltBucket)
		return err
	})
}

func (b *boltLog) prepare(n int) func(int) error { return prepared(n, b.maker.ours, b.write) }

// write returns when the event is in the database.
func (b *boltLog) write(e *notifications.Event) error {
	value, err := e.AppendJSON(make([]byte, 0, 1024))
	if err != nil {
		return err
	}
	if b.batches {
		return b.db.Batch(func(tx *bbolt.Tx) error { return b.put(tx, value) })
	}
	if b.alone {
		return b.db.Update(func(tx *bbolt.Tx) error { return b.put(tx, value) })
	}
	batch := b.enter(value)
	<-batch.done
	return batch.err
}

func (b *boltLog) enter(value []byte) *boltBatch {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		b.open = &boltBatch{done: make(chan struct{})}
		b.kick <- struct{}{} // has room: the committer takes the batch after it
	}
	b.open.values = append(b.open.values, value)
	return b.open
}

// commit is the goroutine that writes.
func (b *boltLog) commit() {
	defer close(b.ended)
	for range b.kick {
		runtime.Gosched() // who was woken by the last batch may have the next event at hand
		b.mu.Lock()
		batch := b.open
		b.open = nil
		b.mu.Unlock()
		batch.err = b.db.Update(func(tx *bbolt.Tx) error { return b.put(tx, batch.values...) })
		close(batch.done)
	}
}

func (b *boltLog) put(tx *bbolt.Tx, values ...[]byte) error {
	bucket := tx.Bucket(boltBucket)
	bucket.FillPercent = 1 // nothing comes in between
	for _, value := range values {
		b.last++
		if err := bucket.Put(binary.BigEndian.AppendUint64(nil, b.last), value); err != nil {
			return err
		}
	}
	return nil
}

func (b *boltLog) stop() error {
	close(b.kick)
	<-b.ended
	return errors.Join(b.db.Close(), os.RemoveAll(b.dir))
}
