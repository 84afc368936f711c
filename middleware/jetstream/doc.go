// Package jetstream lets a stock distribution v3 server choose a hub on a NATS JetStream
// cluster in its YAML (see packages [middleware] and [jetstream]): several servers of one
// registry write into one stream, and share the work for each endpoint.
//
// It is imported for what it registers. A server is built of this program, which is
// distribution's own (cmd/registry) and one line more:
//
//	package main
//
//	import (
//		_ "net/http/pprof"
//
//		"github.com/distribution/distribution/v3/registry"
//		_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
//		_ "github.com/distribution/distribution/v3/registry/auth/token"
//		_ "github.com/distribution/distribution/v3/registry/proxy"
//		_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
//		_ "github.com/distribution/distribution/v3/registry/storage/driver/s3-aws"
//
//		_ "github.com/registry-notifications/notifications/middleware/jetstream"
//	)
//
//	func main() { registry.RootCmd.Execute() }
//
// and configured by
//
//	http:
//	  addr: :5000
//	  draintimeout: 30s # above zero, or the server ends without Close
//	middleware:
//	  registry:
//	    - name: notifications
//	      options:
//	        hub: jetstream
//	        jetstream:
//	          servers: [tls://nats-1.example.org:4222, tls://nats-2.example.org:4222]
//	          user: registry
//	          password: ${file:/run/secrets/nats}
//	          replicas: 3
//	          maxage: 168h
//	        endpoints:
//	          - name: ci
//	            url: https://ci.example.org/hook
//
// All servers of one registry have the same block, but for instance. Values, secrets and
// errors are as package middleware has them:
//
//	middleware.registry.notifications.jetstream.replicas: 7: allowed are 1 to 5, and zero for the default
//
// # Options
//
// Those of the connection:
//
//   - jetstream.servers: the URLs of one server of the cluster or more, which know the others:
//     nats:// or tls://, and a host. User and password, or a token, may be in there. It has
//     to be set.
//   - jetstream.user, jetstream.password: how the servers know this one. Default: not by that.
//   - jetstream.token: the same, by a token. Default: not by that.
//   - jetstream.credentials: the same, by the path of a file with a JWT and a seed, as nsc
//     makes it. Default: not by that.
//   - jetstream.nkey: the same, by the path of a file with the seed of a user's NKey. Of these
//     ways there may be one. Default: not by that.
//   - jetstream.tls.cafile: the path of a PEM file: whom to trust, in place of the system's
//     authorities. Default: the system's.
//   - jetstream.tls.certfile, jetstream.tls.keyfile: paths of PEM files: a client certificate
//     with its key. Default: none.
//
// Each of these files is read again for each connection. With any of tls, as with a URL of
// tls://, servers have to speak TLS.
//
// Those of the stream, as in [jetstream.Config]:
//
//   - jetstream.stream: its name. It is made if there is none; one that has other settings is
//     an error, and left as it is. Default: notifications.
//   - jetstream.subject: what its subjects begin with. Default: the name of the stream.
//   - jetstream.partitions: how many pieces each endpoint's work comes in, which bounds how
//     many servers can share it. It stays as it is for as long as there is the stream.
//     Default: 8.
//   - jetstream.replicas: how many servers of the cluster have each event, 1 to 5. Default: 1.
//   - jetstream.storage: where they keep it: file or memory. Default: file.
//   - jetstream.maxage: how long an event stays, delivered or not. Default: for ever. It or
//     maxbytes should be set: nothing else makes a stream smaller.
//   - jetstream.maxbytes: how large the stream gets. Then the oldest events make room that all
//     endpoints have had; while there are none, no event is taken. Default: no limit.
//   - jetstream.duplicates: for how long the stream knows events again that come twice, at
//     most maxage. Default: 2m.
//   - jetstream.window: how many events are under way to the stream at once. Default: 512.
//   - jetstream.queued: has a client wait only until the server has its event in memory. What is
//     there when the server dies is lost. Default: false.
//   - jetstream.spill.dir: the path of a directory where events wait while the cluster takes
//     none, which no other server may use. It is made; the one above it has to be there.
//     Default: none, and the events are lost.
//   - jetstream.spill.sync: when events in there are safe from a power cut: always, interval or
//     none, as with hub journal. Default: always.
//   - jetstream.spill.maxbytes: how much of the disk is taken, at most. Default: no limit.
//   - jetstream.timeout: how long an answer may take before it is asked for again. Default: 2s,
//     or half of lease if that is less.
//   - jetstream.lease: how long a server that is not heard of any more keeps its share of the
//     work. Default: that of jetstream.Config.
//   - jetstream.instance: the name of this server among those of the registry, of which no two
//     may have the same. Default: the host's name and a word of this run.
//   - jetstream.backoff, jetstream.maxbackoff: the delay before a block is given again to an
//     endpoint that panicked. Endpoints have their own for all else. Default: 1s and 1m.
//
// # What differs from other hubs
//
// A server whose cluster cannot be reached when it starts, or does not let it in, does not
// start. Later it connects again for as long as it runs, and says so in the log, with the
// reason if a server refuses it. What clients do meanwhile goes to the spill. Without one it
// waits for up to dispatchtimeout, and is lost and logged behind that.
//
// The options of endpoints that bound what is in memory (maxpending, maxpendingbytes,
// overflow) are an error.
//
// What endpoints give up goes to a stream beside the first, which is called as that is, with
// -deadletters behind it: the newest 100,000, each as JSON, as "nats stream view" shows. Where
// deadletters.file is set, they are in that file, on this server alone, and there is no such
// stream. What the cluster refuses of the spill is in the spill's directory.
//
// An endpoint that is taken out of the YAML, or renamed, leaves its place in the stream: one
// consumer for each partition, and what these have not had does not make room for maxbytes.
// "nats consumer rm" removes them.
//
// Users of the servers need these permissions, for a stream and a subject called
// notifications: to publish to notifications.>, notifications-deadletters.>, $JS.API.>,
// $JS.ACK.notifications.>, $KV.notifications-leases.> and $KV.notifications-attempts.>, and to
// subscribe to _INBOX.>.
package jetstream
