package jetstream

import (
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// episode logs the first of many failures in a row, and their end.
type episode struct {
	since    time.Time
	failures int
}

func (e *episode) failed(log *logrus.Entry, err error, message string) {
	if e.failures == 0 {
		e.since = time.Now()
		log.WithError(err).Warn(message)
	} else {
		log.WithError(err).Debug(message)
	}
	e.failures++
}

func (e *episode) over(log *logrus.Entry, message string) {
	if e.failures > 0 {
		log.WithField("failures", e.failures).WithField("after", time.Since(e.since).Round(time.Millisecond)).Info(message)
		*e = episode{}
	}
}

// troubles logs the first of several partitions that fail, and when none does any more.
type troubles struct {
	mu      sync.Mutex // guards the rest
	failing map[int]bool
	episode episode
}

func (t *troubles) failed(log *logrus.Entry, partition int, err error, message string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failing == nil {
		t.failing = make(map[int]bool)
	}
	t.failing[partition] = true
	t.episode.failed(log.WithField("partition", partition), err, message)
}

func (t *troubles) over(log *logrus.Entry, partition int, message string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if delete(t.failing, partition); len(t.failing) == 0 {
		t.episode.over(log, message)
	}
}
