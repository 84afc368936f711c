package observer

import "context"

// Store keeps what an observer knows, for its next start. FileStore is one. It is used by
// one goroutine at a time.
type Store interface {
	// Load returns all that is stored.
	Load(ctx context.Context) (map[string][]byte, error)

	// Save stores values under keys, and forgets those keys whose value is nil: all of it
	// or nothing, whenever the process or the machine stops. When it returns nil, it is
	// durable. Values are JSON without line breaks. Nothing of the map is kept.
	Save(ctx context.Context, changes map[string][]byte) error
}

const (
	positionKey = "position/" // and the feed's name: behind which to go on
	runningKey  = "running/"  // and the feed's name: an observer is at work on it
	stateKey    = "state/"    // and the feed's name, a slash, and the repository's
)

func (r Repository) key() string { return stateKey + r.Feed + "/" + r.Name }
