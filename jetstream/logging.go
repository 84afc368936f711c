package jetstream

import (
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
