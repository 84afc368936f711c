package jetstream

import (
	"strings"

	"github.com/google/uuid"
)

// newID returns a word that nobody else has, of letters and digits.
func newID() string { return strings.ReplaceAll(uuid.NewString(), "-", "") }
