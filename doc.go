// Package notifications tells webhooks, and anything else, what happens in a
// container registry: pushes, pulls, mounts and deletes.
//
// A registry server puts it together once and decorates its repositories:
//
//	endpoint, err := notifications.NewEndpoint("ci", "https://ci.example.org/hook", notifications.EndpointConfig{})
//	…
//	hub, err := notifications.NewBroadcaster(notifications.HubConfig{})
//	…
//	err = hub.Add(endpoint.Name(), endpoint)
//	…
//	bridge, err := notifications.NewBridge(hub, notifications.BridgeConfig{Source: source})
//	…
//	repo, remover = notifications.Listen(repo, remover, bridge) // for each request
//	…
//	err = hub.Close(ctx) // at the end: delivers what is pending, until ctx ends
//
// # The picture
//
//	  SOURCES                    HUB                      SINKS
//	  make events        hold and fan out         take events away
//
//	distribution ─ Listen ─┐
//	  Repository           │   Broadcaster (memory)     ┌─ Endpoint  filter → retry → http ──► webhook
//	                       ├─►    or                  ──┼─ Endpoint  …
//	any OCI registry ─────┐│   journal.Journal (disk)   ├─ your own Sink
//	  http.Handler        └┤      or                    └─ Observer  one ordered lane a repository
//	                       │   your own Log (NewHub)
//	another registry's ────┘
//	  webhooks (receiver)
//
// A source makes an [Event] of something that happened. A hub holds events and hands
// them to every sink. A [Sink] takes a block of events. A hub is a sink too, so a
// source never knows which hub it writes to.
//
// Every hub is a log with a cursor for each sink: for each sink a worker takes the
// next block from its cursor, delivers it, and moves the cursor. [Broadcaster] has
// its [Log] in memory, package journal on disk, and whoever writes another Log gets a hub
// from [NewHub].
//
// # What is a pull, and when a push is told
//
// A download is one pull, however a client goes about it: a HEAD is none (unless
// BridgeConfig.CountHEAD is set), nor is a conditional request that is answered by "not
// modified", nor the later ranges of a download in parts, nor a blob that was cut short.
// A download that breaks off and is gone on with, in order, is one pull. [Listen] goes by
// what a distribution server has put into the context of the call, and where there is no
// status, by the request alone: its method, ranges and If-None-Match.
//
// A push by tag is told when the tag is there. A registry takes a manifest only when it has
// all of its parts, so that push says that the image is complete: an endpoint with Images
// set gets this one event in place of one for each part.
//
// # What is guaranteed
//
// Order. Each sink sees the events of a hub in the order in which they were written,
// retries included. A retry is the same block again.
//
// Loss. An event that a hub has accepted (Write returned nil) is delivered at least
// once, as long as that hub's log lives: for a Broadcaster, the process; for a Journal,
// the disk. What does get lost, at Close or when a sink is removed, is counted by
// reason. For every sink, at every moment, [Metrics] adds up: accepted = delivered +
// pending + filtered + dead-lettered + dropped. Receivers that must not act twice
// deduplicate on Event.ID, which stays the same through every retry.
//
// Waiting. No sink waits for another, and no source for a sink. A client of the
// registry waits at most BridgeConfig.DispatchTimeout, and no failure here fails its
// push or pull.
//
// Retries. An [Endpoint] retries what can pass, with exponential backoff and full
// jitter, obeys Retry-After, tries at a slow pace what an operator has to mend, and
// stops where the receiver says that it is gone. It never follows a redirect.
//
// Refused content. Where a receiver refuses a block, it is halved until the refused
// event stands alone. That event waits while those behind it go on. Once one of these
// is accepted, the receiver is known to work, and the event goes to the dead letters
// ([DeadLetterSink]), from where [Endpoint.Replay] sends it again. Where everything is
// refused, it is the receiver that is wrong, and all of it waits.
//
// Room. A hub in memory grows as long as a receiver is dead, unless it is bounded:
// HubConfig.MaxPending, MaxPendingBytes and Overflow.
//
// Shutdown. Close stops intake at once, delivers until its context ends, cancels what
// is under way, and says how much was left and for whom. It does not wait for what
// cannot be delivered any more: refused events with nothing behind them, and an
// endpoint that is stopped. It comes back within half
// a second after its context ended, whatever a receiver or a sink does.
//
// Secrets. Header values, and a URL's user, password and query, are in no log, error
// or metric, nor in what fmt prints of an endpoint or its configuration.
//
// # Beside it
//
// Package ociregistry is the source for a registry of any kind: an http.Handler around it.
//
// Package signature signs and verifies webhooks by the Standard Webhooks scheme:
// EndpointConfig.SigningKeys, and for receivers a Verifier.
//
// Package journal is a hub on disk, which survives kill -9 and takes the place of a
// Broadcaster in one line.
//
// Package receiver is the other end of a webhook: an http.Handler that writes what arrives
// to a Sink. Package observer reads a [Feed], as a journal is, and has a Processor act on
// each repository, in order.
//
// Package sinktest has a fake sink for tests, and the conformance suites for sinks
// and hubs of one's own. Module middleware is the plug-in for a stock distribution
// server. Endpoints are shown in expvar under registry → notifications → endpoints,
// where operators' dashboards look for them.
package notifications
