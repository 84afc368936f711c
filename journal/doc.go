// Package journal is a hub on disk: what it has accepted survives the process, kill -9
// and, as configured, a power cut, and what a receiver that is away has not had yet takes
// no memory.
//
//	hub, err := journal.Open("/var/lib/registry/events", journal.Config{})
//	...
//	err = hub.Add("scanner", endpoint) // goes on where the last run ended
//	bridge, err := notifications.NewBridge(hub, notifications.BridgeConfig{})
//
// It takes the place of a notifications.Broadcaster, in that one line.
//
// # The log
//
// There is one log, however many sinks there are, in files (segments) of 64 MiB:
//
//	events/
//	├── 00000000000000000001-5f3a09c2.seg   records 1 to 108,213
//	├── 00000000000000108214-5f3a09c2.seg   the newest: preallocated, appended to
//	├── places.0, places.1                  where each sink is: two in turn
//	├── deadletters/                        the same once more, for what was given up
//	└── lock                                who has it
//
// Write returns when its events are as durable as Config.Sync says: all of a block or
// none. Writers that come at the same time share one sync. A write that failed may come
// out all the same; its events have their IDs.
//
// # The sinks
//
// Each named sink has a place in the log, which moves past what Deliver has settled and is
// on disk before the sink gets the next block. So a crash repeats at most one block for
// each sink. A place stays, and holds what is behind it, until Remove, whether the sink is
// added again or not. A sink that keeps up reads from memory what was just written; one
// that lags reads ahead from the files. Nothing is decoded on the way to an Endpoint.
//
// Close finishes what is in flight and leaves the rest for the next start.
//
// # Damage
//
// What a crash left half-written at the end was never acknowledged, and is cut off by
// Open. A damaged byte anywhere else costs the record that it is in: the sinks pass it
// over, it is logged with its position, and counted for each sink
// (notifications.DroppedDamaged). The command at journal/cmd/journal looks at a journal
// from outside.
//
// # A full disk
//
// Room is set aside a segment at a time, so a full disk is met between two of them. Write
// then returns a *WriteError, what is there is delivered, and what that frees is written
// to again. After a sync that failed, nothing is written to that segment any more.
//
// # A power cut
//
// With SyncAlways it takes nothing that was acknowledged. With SyncInterval and SyncNone it
// takes what was not synced, and may leave holes, which are then reported as damage. Feeds
// (Read, Wait) see what is synced, with SyncNone all that is written.
//
// One process at a time may have a journal open. Unix only: without its locks a journal
// does not open.
package journal
