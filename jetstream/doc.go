// Package jetstream is a hub on a NATS JetStream cluster, for those who outgrow one machine:
// several instances of a registry write into one stream, and share the work for each sink.
//
//	nc, err := nats.Connect(urls, nats.MaxReconnects(-1), nats.ReconnectBufSize(-1))
//	...
//	hub, err := jetstream.Open(ctx, nc, jetstream.Config{Replicas: 3})
//	...
//	err = hub.Add("scanner", endpoint) // goes on where all instances together are
//	bridge, err := notifications.NewBridge(hub, notifications.BridgeConfig{})
//
// It takes the place of a notifications.Broadcaster or a journal, in that one line.
//
// # The stream
//
//	notifications.3.push      Nats-Msg-Id: the event's ID    Repository: library/app
//	│             │ └ action
//	│             └ partition: FNV-1a of the repository's name, modulo Config.Partitions
//	└ Config.Subject
//
// A message is an event, its data the event's JSON. Write returns when the stream has it: with
// one replica that is one server, with three it is two of them. Messages go out in batches of
// which the stream stores a piece from the front, in order, whatever happens on the way, and
// what has failed is sent again under its old ID, for as long as the context of its Write.
// Servers have this since version 2.14.
//
// What servers have acknowledged is in their memory, and on disk within two minutes
// (sync_interval): a power cut of all that have it loses it. Three replicas that do not fail
// at once, or sync_interval: always in the servers' configuration, are for those who cannot
// bear that.
//
// # While the cluster is away
//
// With Config.Spill, a Write that the cluster has not taken within half a second goes to a
// journal in a directory of this instance, and returns. What is written from then on goes
// there, too, until the cluster has all of it, in order; a run that ends meanwhile leaves it to
// the next. Without a directory, Write waits for as long as its context. Open needs the
// cluster either way.
//
// # The sinks
//
// For each sink and partition there is a durable consumer, which knows what is settled, and a
// lease, which one instance has. Instances take leases up to a fair share, renew them, and
// give some back when another one comes. So each repository is worked on by one instance at a
// time, in order; when one dies, others go on behind what it has settled, some moments after
// Config.Lease. What was under way then comes again, under its old IDs; so may more, where a
// server leads that was cut off from the others before. The servers' clocks have to agree to
// within a quarter of a lease.
//
// A name's place stays until Remove, which is one for all instances: their sinks of that name
// get nothing any more, and have to be removed, too. Metrics counts what this instance has
// delivered, and what waits in its partitions; what waits there when a partition becomes
// another's counts as that one's.
//
// What endpoints give up is kept in the cluster (Hub.DeadLetters), and so is how often events
// were tried (RetryConfig.MaxAttempts holds over restarts, to within what was tried in a fifth
// of a lease before an instance died).
//
// # Feeds
//
// Hub is a notifications.Feed: positions are those of the stream. What all sinks have settled
// stays until Config.MaxAge or MaxBytes. What MaxAge takes from a sink that has not had it is
// counted (notifications.DroppedExpired) while an instance has the partition; what it takes
// while none has it is not known to anybody.
//
// # What it makes in the cluster
//
//	<stream>                          events: files, limits, no message is replaced
//	<stream>-deadletters              the newest 100,000 letters
//	KV_<stream>-leases                who works on what: forgets by itself
//	KV_<stream>-attempts              how often events were tried that nobody takes
//	sink-<name>-<partition>           durable consumers of <stream>
//
// Settings that are there already are compared with the configuration, and never changed.
package jetstream
