package notifications

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"
)

type loggerKey struct{}

// ContextWithLogger returns a context whose calls are logged to entry, with the
// fields that the embedding server gave it.
func ContextWithLogger(ctx context.Context, entry *logrus.Entry) context.Context {
	return context.WithValue(ctx, loggerKey{}, entry)
}

// loggerFrom returns the logger of a call: the context's, else fallback, with the
// request's fields.
func loggerFrom(ctx context.Context, fallback *logrus.Entry) *logrus.Entry {
	entry := bareLoggerFrom(ctx, fallback)
	if id, _ := requestFrom(ctx); id != "" {
		entry = entry.WithField("http.request.id", id)
	}
	return entry
}

// bareLoggerFrom is loggerFrom without the fields, for who wants to know first whether
// anything would be written.
func bareLoggerFrom(ctx context.Context, fallback *logrus.Entry) *logrus.Entry {
	if entry, ok := ctx.Value(loggerKey{}).(*logrus.Entry); ok && entry != nil {
		return entry
	}
	return orStandardLogger(fallback)
}

func orStandardLogger(entry *logrus.Entry) *logrus.Entry {
	if entry == nil {
		return logrus.NewEntry(logrus.StandardLogger())
	}
	return entry
}

// debugs says whether a debug line would be written.
func debugs(entry *logrus.Entry) bool { return entry.Logger.IsLevelEnabled(logrus.DebugLevel) }

// episode turns a failure that repeats into two log lines: when it starts and when
// it is over. It belongs to one goroutine.
type episode struct {
	since    time.Time
	failures int
}

func (e *episode) failed(log *logrus.Entry, err error, msg string) {
	if e.failures == 0 {
		log.WithError(err).Warn(msg)
	}
	e.count()
}

// count is for a failure that was logged elsewhere.
func (e *episode) count() {
	if e.failures == 0 {
		e.since = time.Now()
	}
	e.failures++
}

func (e *episode) over(log *logrus.Entry, msg string) {
	if e.failures > 0 {
		log.WithFields(logrus.Fields{"failures": e.failures, "after": time.Since(e.since).Round(time.Millisecond)}).Info(msg)
		*e = episode{}
	}
}
