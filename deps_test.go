package notifications_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDependencies: an importer of the root package builds these seven modules and
// no other.
func TestDependencies(t *testing.T) {
	allowed := []string{
		"github.com/distribution/distribution/v3",
		"github.com/distribution/reference",
		"github.com/google/uuid",
		"github.com/opencontainers/go-digest",
		"github.com/opencontainers/image-spec",
		"github.com/sirupsen/logrus",
		"golang.org/x/sys",
	}
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", ".")
	cmd.Env = append(cmd.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	require.NoError(t, err)
	modules := strings.Fields(string(out))
	slices.Sort(modules)
	assert.Equal(t, allowed, slices.Compact(modules))
}

// TestNothingOfTheIncumbents: what the library is measured against is not in it.
func TestNothingOfTheIncumbents(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "./...").Output()
	require.NoError(t, err)
	for _, banned := range []string{"github.com/distribution/distribution/v3/notifications", "github.com/docker/go-events"} {
		assert.NotContains(t, strings.Fields(string(out)), banned)
	}
}
