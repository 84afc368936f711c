// Package observer watches what happens in registries and acts on it, one repository at a
// time for each, in order, from where it was when it ended last.
//
//	store, err := observer.OpenFile("/var/lib/mirror/state")
//	…
//	o, err := observer.New(observer.Config{
//		Feeds:     map[string]notifications.Feed{"registry": hub}, // a journal
//		Store:     store,
//		Processor: mirror{}, // your own
//		Hold:      "mirror",
//	})
//	…
//	err = o.Watch(ctx) // until ctx ends
//
// # Two phases
//
// First it loads: all that is in a feed behind the position of the last end, up to where it
// would have to wait, is folded into the states of the repositories. Then the [Processor] is
// called once for each repository of which there was anything new, for what is true in the
// end: Enable, Disable or Freeze. What has been undone in between, nobody is told.
// Repositories whose last attempt failed, and of which there is nothing new, are left alone.
//
// Then it watches: each event is folded into its repository's state, calls what follows from
// it (Enable for a repository that is new, Disable for one that was deleted, Freeze,
// Unfreeze), and then Event. For a repository that nobody knows a pull, the delete of something
// in it, and other actions call Event alone: they may have come late, behind its end.
//
// # Activities, lanes and limits
//
//	feed ─► registry activity ─┬─► team/app  ● ● ●   a lane: one thing after another
//	        reads, dispatches  ├─► team/db   ●   │
//	                           │                 └─► workflow: first initialisation, freeze,
//	                           │                     rename; the lane sleeps meanwhile
//	                           └─► a/b       (sleeps: no goroutine, ≤ 200 bytes)
//
//	at once: Activities (20) of all kinds, of which Lanes (10) are lanes
//
// Each feed has an activity that reads it and wakes those of its repositories. An activity
// runs only while it has something to do; then it sleeps without a goroutine. A lane that
// waits (for its workflow, for another try, for the lane that its state comes from) sleeps,
// too, and takes up none of the limits. So lanes can never starve what they wait for.
//
// A rename ends the activity of the old name with a release (Disable under the old name); a new
// activity of the new name begins with an acquisition: Move, and Enable. [DepChain] is what
// says who waits for whom. While watching each rename, and while loading one of a repository
// that somebody was told of, is a step of its own: the feed's other events wait until what is
// in front of it is done with and saved, and then until it is itself ([Stat].Waits). So no crash
// ever leads across a rename that was done, and no Move comes again when names are others'
// already. The wait is for what is queued in front of it, retries included: a call that never
// returns stops its feed at the next rename. Other renames are folded as all else is; what was
// loaded then is saved before it is told ([State].Untold). A rename from a name that nobody
// knows to one that is there, as when it comes twice, leaves that as it is.
//
// # What is guaranteed
//
// Order. Calls for one repository come one after another, in the order of its events, also
// across a rename.
//
// At least once. The position that is saved is in front of every event that is neither done
// with nor in a state that says that it has still to be told, and states are saved with it.
// After a crash, what was done since comes again: as what is new while nobody watched. Nothing
// is left out. What a feed does not have any more ends Watch with an error; Config.Hold keeps a
// journal from forgetting it. While nothing can be saved, nobody is told what was loaded, and
// renames wait; all else goes on.
//
// Errors. A call that fails, or panics, is tried again (Config.Retries). Then its error is
// stored in the state of its repository, and others go on. The next event of that repository
// tries again, once, with Enable (or what else is true then) before its Event.
package observer
