package observer

import (
	"context"

	"github.com/registry-notifications/notifications"
)

// Processor acts on what happens to repositories. Calls for one repository come one after
// another, those for several at once. The state is for reading, and for as long as a call
// lasts. An error, or a panic, is tried again: see Config.Retries.
//
// A call may come again after a crash, and has to bear that.
type Processor interface {
	// Enable is called for a repository that is there: when it is seen first and was
	// initialised, when it was acquired by a rename, and once for all that has happened to
	// it while nobody watched, or since an error.
	Enable(ctx context.Context, state *State) error

	// Disable is called for a repository that was deleted, or released by a rename. Nothing
	// is left under its name. (One of a release that has failed as often as it may is not
	// tried again: the repository goes on under its new name.)
	Disable(ctx context.Context, state *State) error

	// Freeze and Unfreeze are called for the actions of these names (ActionFreeze,
	// ActionUnfreeze), which only servers of one's own write.
	Freeze(ctx context.Context, state *State) error
	Unfreeze(ctx context.Context, state *State) error

	// Event is called for each event while it watches, behind what else the event makes it
	// call, with the state that the event has led to. Actions that are no registry's come
	// here, too.
	Event(ctx context.Context, state *State, record notifications.Record) error
}

// Initializer prepares what a Processor needs for a repository, before it is first
// enabled. Calls for one repository come one after another.
type Initializer interface {
	// Get says whether a repository is prepared already.
	Get(ctx context.Context, repository Repository) (prepared bool, err error)
	// Init prepares it.
	Init(ctx context.Context, repository Repository) error
	// Move takes what was prepared for a repository to its new name. What is there already
	// is of the same that was there before, and can be overwritten.
	Move(ctx context.Context, from, to Repository) error
}

// Repository is which repository, of which feed.
type Repository struct {
	Feed string `json:"feed"`
	Name string `json:"name"`
}

// Actions that registries do not have, but servers of one's own may write, of type
// repository.
const (
	ActionFreeze   = "freeze"
	ActionUnfreeze = "unfreeze"
)
