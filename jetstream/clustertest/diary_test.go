package clustertest

import (
	"bytes"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"
)

// diary keeps what all instances log, and shows its end if the test fails.
type diary struct {
	logger *logrus.Logger

	mu    sync.Mutex // guards lines
	lines [][]byte
}

const mostLines = 400

func newDiary(t *testing.T) *diary {
	d := &diary{logger: logrus.New()}
	d.logger.SetOutput(d)
	d.logger.SetFormatter(&logrus.TextFormatter{DisableColors: true, FullTimestamp: true, TimestampFormat: "15:04:05.000"})
	t.Cleanup(func() {
		if t.Failed() {
			d.mu.Lock()
			defer d.mu.Unlock()
			t.Logf("what was logged last:\n%s", bytes.Join(d.lines, nil))
		}
	})
	d.logger.SetLevel(logrus.DebugLevel)
	return d
}

// of returns the logger of an instance.
func (d *diary) of(instance string) *logrus.Entry {
	return logrus.NewEntry(d.logger).WithField("instance.id", instance)
}

func (d *diary) Write(line []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if bytes.Contains(line, []byte("notifications: sink")) {
		return len(line), nil // fails on purpose
	}
	if len(d.lines) == mostLines {
		d.lines = d.lines[1:]
	}
	d.lines = append(d.lines, bytes.Clone(line))
	return len(line), nil
}
