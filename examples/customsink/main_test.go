package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/registry-notifications/notifications"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	for range 2 {
		require.NoError(t, run(t.Context(), new(bytes.Buffer), []string{"-o", path}))
	}

	content, err := os.ReadFile(path)
	require.NoError(t, err)
	var actions []string
	for _, line := range strings.Split(strings.TrimSpace(string(content)), "\n") {
		var e notifications.Event
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		require.NotEmpty(t, e.ID)
		require.Equal(t, "v1", e.Target.Tag)
		actions = append(actions, e.Action)
	}
	require.Equal(t, []string{"push", "pull", "delete", "push", "pull", "delete"}, actions)
}

func TestRunErrors(t *testing.T) {
	require.Error(t, run(t.Context(), new(bytes.Buffer), []string{"-o", filepath.Join(t.TempDir(), "no", "such", "directory")}))
	require.Error(t, run(t.Context(), new(bytes.Buffer), []string{"-x"}))
}
