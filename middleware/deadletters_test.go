package middleware

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/reference"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// What is given up is in the file when the server has ended, and the file is free for the
// next one.
func TestDeadLetterFile(t *testing.T) {
	down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer down.Close()
	path := filepath.Join(t.TempDir(), "dead.jsonl")
	n := build(t, removable(), `
deadletters: {file: `+path+`, maxbytes: 1MiB, maxfiles: 2}
endpoints: [{name: ci, url: "`+down.URL+`", maxattempts: 1}]
`)
	name, err := reference.WithName("library/app")
	require.NoError(t, err)
	require.NoError(t, n.(distribution.RepositoryRemover).Remove(t.Context(), name))
	sinktest.Eventually(t, func() bool {
		b, err := os.ReadFile(path)
		return err == nil && len(b) > 0
	}, "a letter is there")
	closeNamespace(t, n)

	letters, err := notifications.OpenDeadLetterFile(path, notifications.DeadLetterFileConfig{})
	require.NoError(t, err)
	defer letters.Close()
	var found []notifications.DeadLetter
	require.NoError(t, letters.Take(context.Background(), func(*notifications.DeadLetter) bool { return true }, func(l *notifications.DeadLetter) error {
		found = append(found, *l)
		return nil
	}))
	require.Len(t, found, 1)
	require.Equal(t, "ci", found[0].Endpoint)
	require.Equal(t, http.StatusServiceUnavailable, found[0].Status)
	require.Equal(t, "library/app", found[0].Event.Target.Repository)
}

// The file is closed when the hub is, and not before: what a drain gives up has to go
// somewhere.
func TestDeadLetterFileIsClosedLast(t *testing.T) {
	p, _, err := newPipeline(t.Context(), new(document), optionsOf(t, "hub: testhub\ndeadletters: {file: "+filepath.Join(t.TempDir(), "dead.jsonl")+"}"))
	require.NoError(t, err)
	put := func() error {
		return p.letters.Put(context.Background(), notifications.DeadLetter{Event: notifications.NewEvent("push")})
	}
	duringClose := errors.New("hub was not closed")
	(<-testHubs).onClose = func() { duringClose = put() }
	require.NoError(t, p.Close())
	require.NoError(t, duringClose)
	require.ErrorIs(t, put(), os.ErrClosed)
}
