package jetstream

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"

	stream "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/jetstream"
	"github.com/registry-notifications/notifications/sinktest"
)

func letter() notifications.DeadLetter {
	return notifications.DeadLetter{Event: sinktest.Events("library/app", 1)[0], Endpoint: "ci", Reason: notifications.ReasonRefused, Attempts: 1}
}

// A letter that comes before its stream is there waits for that, as long as its context says.
func TestLetterWaits(t *testing.T) {
	d := newDeadLetters(&jetstream.Config{Stream: "events"})
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	require.ErrorIs(t, d.Put(ctx, letter()), gone)
	require.ErrorIs(t, d.Put(ctx, notifications.DeadLetter{}), notifications.ErrNilEvent)
}

// The same letter is the same message; one of another time is another.
func TestLetterID(t *testing.T) {
	d := newDeadLetters(&jetstream.Config{Stream: "events"})
	l := letter()
	id := func(attempts int) string {
		l.Attempts = attempts
		m, err := d.message(&l, 1<<20)
		require.NoError(t, err)
		require.Equal(t, "events-deadletters", m.Subject)
		require.Empty(t, m.Header.Get("Content-Encoding"))
		return m.Header.Get(stream.MsgIDHeader)
	}
	require.NotEmpty(t, id(1))
	require.Equal(t, id(1), id(1))
	require.NotEqual(t, id(1), id(2))
}

// An event of which the servers only just took all makes a letter that is larger.
func TestLargeLetter(t *testing.T) {
	d, l := newDeadLetters(&jetstream.Config{Stream: "events"}), letter()
	plain, err := d.message(&l, 1<<20)
	require.NoError(t, err)
	fits, err := d.message(&l, int64(plain.Size()))
	require.NoError(t, err)
	require.Equal(t, plain, fits)

	small, err := d.message(&l, int64(plain.Size())-1)
	require.NoError(t, err)
	require.Less(t, len(small.Data), len(plain.Data))
	require.Equal(t, "gzip", small.Header.Get("Content-Encoding"))
	r, err := gzip.NewReader(bytes.NewReader(small.Data))
	require.NoError(t, err)
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	var got notifications.DeadLetter
	require.NoError(t, json.Unmarshal(data, &got))
	require.Equal(t, l.Event.ID, got.Event.ID)
}
