package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// A sink of one's own is proved by the suite that the library's are proved by.
func TestSink(t *testing.T) {
	sinktest.TestSink(t, func(t *testing.T) sinktest.Subject {
		path := filepath.Join(t.TempDir(), "events.jsonl")
		file, err := open(path)
		require.NoError(t, err)
		return sinktest.Subject{
			Sink:   &jsonLines{to: file},
			Events: func() []*notifications.Event { return read(t, path) },
		}
	})
}

// read returns the events of those lines that are complete.
func read(t *testing.T, path string) (events []*notifications.Event) {
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	for line := range bytes.Lines(content) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		e := new(notifications.Event)
		require.NoError(t, json.Unmarshal(line, e))
		events = append(events, e)
	}
	return events
}

type failingFile struct{ closed int }

var errDisk = errors.New("disk full")

func (f *failingFile) Write([]byte) (int, error) { return 0, errDisk }
func (f *failingFile) Close() error              { f.closed++; return errDisk }

func TestErrorsPassThrough(t *testing.T) {
	file := new(failingFile)
	sink := &jsonLines{to: file}
	require.ErrorIs(t, sink.Write(t.Context(), notifications.NewEvent("push")), errDisk)
	require.ErrorIs(t, sink.Close(t.Context()), errDisk)
	require.ErrorIs(t, sink.Close(t.Context()), errDisk)
	require.Equal(t, 1, file.closed)
}
