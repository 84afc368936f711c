package notifications

import (
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// eventJSON and targetJSON are the wire format, field for field in the order that
// receivers have always seen.
type (
	eventJSON struct {
		ID        string        `json:"id,omitempty"`
		Timestamp time.Time     `json:"timestamp"`
		Action    string        `json:"action,omitempty"`
		Target    targetJSON    `json:"target"`
		Request   RequestRecord `json:"request"`
		Actor     ActorRecord   `json:"actor"`
		Source    SourceRecord  `json:"source"`
	}

	targetJSON struct {
		Type           string                    `json:"type,omitempty"`
		MediaType      string                    `json:"mediaType,omitempty"`
		Digest         digest.Digest             `json:"digest,omitempty"`
		Size           int64                     `json:"size,omitempty"`
		Length         int64                     `json:"length,omitempty"`
		TotalSize      int64                     `json:"totalSize,omitempty"`
		Repository     string                    `json:"repository,omitempty"`
		FromRepository string                    `json:"fromRepository,omitempty"`
		URL            string                    `json:"url,omitempty"`
		Tag            string                    `json:"tag,omitempty"`
		References     []distribution.Descriptor `json:"references,omitempty"`
		Annotations    map[string]string         `json:"annotations,omitempty"`
		ArtifactType   string                    `json:"artifactType,omitempty"`
		Platform       *v1.Platform              `json:"platform,omitempty"`
		URLs           []string                  `json:"urls,omitempty"`
		Data           []byte                    `json:"data,omitempty"`
	}
)
