package receiver

import (
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// trouble makes two log lines of a sink that fails for a while: when it starts and when it
// is over.
type trouble struct {
	mu       sync.Mutex // guards the rest
	since    time.Time
	failures int
}

func (t *trouble) failed(log *logrus.Entry, err error) {
	t.mu.Lock()
	first := t.failures == 0
	if first {
		t.since = time.Now()
	}
	t.failures++
	t.mu.Unlock()
	if first {
		log.WithError(err).Warn("receiver: the sink does not take events")
	}
}

func (t *trouble) over(log *logrus.Entry) {
	t.mu.Lock()
	failures, since := t.failures, t.since
	t.failures = 0
	t.mu.Unlock()
	if failures > 0 {
		log.WithFields(logrus.Fields{"failures": failures, "after": time.Since(since).Round(time.Millisecond)}).
			Info("receiver: the sink takes events again")
	}
}

// strangers are those who may not send. Their answer does not tell them why, so the log
// does, at most once a minute: anybody can come, as often as he likes.
type strangers struct {
	mu     sync.Mutex // guards the rest
	logged time.Time
	since  int // who came after that
}

func (s *strangers) came(log *logrus.Entry, addr string, err error) {
	s.mu.Lock()
	now := time.Now()
	due := s.logged.IsZero() || now.Sub(s.logged) >= time.Minute
	s.since++
	n := s.since
	if due {
		s.logged, s.since = now, 0
	}
	s.mu.Unlock()
	if due {
		log.WithError(err).WithFields(logrus.Fields{"addr": addr, "requests": n}).Warn("receiver: request refused: not authorized")
	}
}
