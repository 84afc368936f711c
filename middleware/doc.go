// Package middleware plugs notifications into a stock distribution v3 server. It is
// imported for what it registers:
//
//	import _ "github.com/registry-notifications/notifications/middleware"
//
// and configured in the server's own YAML:
//
//	http:
//	  addr: :5000
//	  draintimeout: 30s # above zero, or the server ends without Close
//	middleware:
//	  registry:
//	    - name: notifications
//	      options:
//	        addr: :5000
//	        url: https://registry.example.org
//	        dispatchtimeout: 1s
//	        draintimeout: 10s
//	        events:
//	          includereferences: true
//	        hub: journal
//	        journal:
//	          dir: /var/lib/registry/events
//	          maxbytes: 10GiB
//	        endpoints:
//	          - name: audit
//	            url: https://audit.example.org/events
//	            headers:
//	              Authorization: ["Bearer ${file:/run/secrets/audit}"]
//	            signingkeys: ["${env:AUDIT_KEY}"]
//	            timeout: 5s
//	            ignore:
//	              actions: [pull]
//	          - name: deploy
//	            url: http://10.0.0.7:8080/hook
//	            images: true
//	            only:
//	              repositories: [library/**]
//	            addresses:
//	              allow: [10.0.0.0/8]
//
// The keys of distribution's own notifications, with all below them, are among the options
// and mean what they mean there: that block can be moved to options as it is. Where both
// stay, each receiver gets every event twice.
//
// # Values
//
// A duration is text with a unit, as 500ms or 1m30s; a bare number is an error. A size, which
// is every option whose name ends in bytes, is a whole number of bytes, or one with KiB, MiB,
// GiB or TiB behind it, without a space, as 64MiB. Zero, like null, means the default. Text
// that YAML would take for something else (5000, yes, off) is put in quotes.
//
// What is not known, or not allowed, keeps the server from starting, and is named by its
// path:
//
//	middleware.registry.notifications.endpoints[1].timeout: 500: allowed is text with a unit, as "500ms" or "1m30s"
//
// # Secrets, and what differs from server to server
//
// In any text of the options (not in the names of keys)
//
//   - ${env:NAME} stands for the value of an environment variable,
//   - ${file:/path} for what is in a file of at most 64 KiB, without a newline at its end,
//   - $${ for ${ itself.
//
// They are looked up once, when the server starts. A variable or a file that is not there or
// is empty is an error, for a disabled endpoint too. What is put in is not looked at again:
// no variable can have a file read. It becomes what the option wants: maxevents: ${env:N}
// takes a number, and images: ${env:X} true or false, but no list and no map. Errors show
// nothing of it that is longer than two characters. Of an endpoint's url, logs and metrics
// show host and path, and never user, password or query: a token belongs there, or into
// headers.
//
// Before that, distribution's own decoder replaces options by variables that begin with
// REGISTRY_: REGISTRY_MIDDLEWARE_REGISTRY_0_OPTIONS_HUB is hub, and one that ends in
// _OPTIONS_JOURNAL replaces the block journal by YAML. Into a block or a list that is in the
// file already it does not reach. Variables for ${env:…} should have other names, or that
// decoder takes them for its own.
//
// # Options
//
//   - endpoints: the webhooks, see below. Default: none.
//   - hub: where events wait for the webhooks. memory, journal, jetstream (a cluster that
//     several servers share: module middleware/jetstream registers it, and has its options),
//     or what else a program has registered (see [RegisterHub]). Default: memory.
//   - memory, journal: the options of that hub, see below. Those of a hub that was not
//     chosen are an error.
//   - deadletters: where the events go that are given up, see below. Not with hub journal.
//   - events.includereferences: puts the references of a manifest into its events. Default:
//     false. An endpoint that is not disabled and has images: true makes it true for all.
//   - counthead: takes a HEAD for a pull, as distribution's own notifications do. Default:
//     false.
//   - url: where clients find the registry, for the URLs in the events. Default: the host
//     that the client used.
//   - addr: what the server listens on, as http.addr has it. Its port becomes part of
//     source.addr. Default: :5000.
//   - trustedproxies: how many proxies in front are believed about who made a request (see
//     [notifications.BridgeConfig]). Default: 0.
//   - trustbasicuser: takes the user of basic authentication for the actor where the server
//     names none. Something in front has to check it. Default: false.
//   - dispatchtimeout: how long a client may be made to wait for the hub to take an event.
//     Then the event is lost, and logged. Default: 1s.
//   - draintimeout: how long the end of the server may wait for the hub. It begins when
//     http.draintimeout is over. Default: 10s.
//   - pullthrough: see below. Default: false.
//
// # Hub memory
//
// Events wait in memory. What is still there after draintimeout is lost, and said to be.
//
//   - memory.maxpending: how many events each endpoint may have waiting. Default: no limit.
//   - memory.maxpendingbytes: how many bytes of them, as JSON. Default: no limit.
//   - memory.overflow: what happens then: block (a client waits, up to dispatchtimeout, and
//     then nobody gets the event), drop-newest or drop-oldest (for the endpoint that is full
//     alone). Default: block.
//   - memory.backoff, memory.maxbackoff: the delay before a block is given again to an
//     endpoint that panicked. Endpoints have their own for all else. Default: 1s and 1m.
//   - deadletters.file: the path of a file for what endpoints give up, as JSON lines; older
//     ones are beside it. Its directory has to be there, and no other server may use it.
//     Default: the newest thousand of each endpoint are kept in memory. A registered hub can
//     have this, too; one that outlives the server has a place of its own as the default.
//   - deadletters.maxbytes: how large the file gets before a new one is begun. Default:
//     64MiB.
//   - deadletters.maxfiles: how many older ones are kept. Default: 9.
//
// # Hub journal
//
// Events wait on disk (see package journal), and survive the end of the server, however that
// comes. Each endpoint goes on where it was, under its name. Its dead letters are in the
// directory as well. Unix only.
//
//   - journal.dir: its directory, which no other server may use. It is made; the one above
//     it has to be there. It has to be set.
//   - journal.sync: when events are safe from a power cut: always (before the client gets
//     its answer), interval, or none (when the system thinks fit). Default: always.
//   - journal.syncinterval: how long sync: interval puts it off. Default: 1s.
//   - journal.segmentbytes: how large each file gets. Only whole files are removed. At least
//     64KiB. Default: 64MiB, or an eighth of maxbytes if that is less.
//   - journal.maxbytes: how much of the disk is taken, at most, beside the dead letters.
//     Default: no limit.
//   - journal.maxage: how old an event may get that waits. Default: no limit.
//   - journal.overflow: what happens where maxbytes or maxage is reached: block (a client
//     waits, up to dispatchtimeout, and then nobody gets the event), reject (it does not
//     wait), or drop-oldest (for the endpoints that are behind). Default: block.
//   - journal.retain: how long what everybody has had is kept, to be looked at. Default: it
//     is not.
//   - journal.start: where an endpoint begins whose name is new: end (with what happens from
//     now on) or beginning (with what is still there). Default: end.
//   - journal.backoff, journal.maxbackoff: as in memory. Default: 1s and 1m.
//   - journal.forget: names of endpoints that will not come back. Default: none.
//
// An endpoint that is disabled, renamed or taken out keeps its place, and everything that
// it has not had stays on disk. The server logs a warning for each at its start, with how
// many events it is behind. To let go of them, its old name is put into forget, where it may
// stay.
//
// # Endpoints
//
// A name is used once. All else is as in [notifications.EndpointConfig].
//
//   - name, url: have to be set. User and password in the URL are basic authentication.
//   - disabled: leaves the endpoint out. Default: false.
//   - headers: a map of lists, set on every request. Default: none.
//   - signingkeys: keys that sign each request by the Standard Webhooks scheme: whsec_…,
//     whsk_…, or env:NAME or file:/path. Default: requests are not signed.
//   - tls.cafile, tls.certfile, tls.keyfile: paths of PEM files: whom to trust beside the
//     system's authorities, and a client certificate with its key. Default: none.
//   - tls.servername: the name in the receiver's certificate. Default: that of the URL.
//   - tls.insecureskipverify: takes any certificate. Default: false.
//   - addresses.allow, addresses.deny: networks and addresses where connections may go, and
//     may not. Default: everywhere, but for link-local and cloud metadata addresses.
//   - timeout: how long one attempt may take. Default: 15s.
//   - threshold: after how many failures in a row only one request at a time is tried.
//     Default: 10.
//   - backoff, maxbackoff: the longest delay after the first failure, which doubles with
//     each further one, and its bound. Default: 1s and 5m.
//   - maxattempts, maxage: how often and how long a request is tried before its events are
//     given up. Default: for ever.
//   - maxinflight: how many requests may be under way at once, at most 64; above one, order
//     is kept for each repository only. Default: 1.
//   - maxevents: how many events one request has, at most 1024. Default: 1024.
//   - maxbytes: how large a request of several events gets. Default: 1MiB.
//   - mediatype: the Content-Type, of version 1 or 2, without parameters. Default:
//     application/vnd.docker.distribution.events.v2+json.
//   - maxpending, maxpendingbytes, overflow: the endpoint's own, in place of those of the
//     hub in memory. Not with a hub that keeps events elsewhere. Default: the hub's.
//   - only, ignore: which events the endpoint gets, each with mediatypes, actions and
//     repositories (names, or patterns with *, ** and ?). An event has to match each list
//     of only, and none of ignore. Default: all.
//   - ignoredmediatypes: an older name for ignore.mediatypes. Default: none.
//   - images: one event for each image, in place of one for each of its parts: pushes and
//     pulls of manifests by tag, and deletes of tags, with references and total size.
//     Default: false.
//
// # The end
//
// The server closes a registry middleware at its end if http.draintimeout is above
// zero. Zero is its default, and then what is still in memory is lost; what is in a journal
// waits for the next start. A program that builds its own server calls the App's Shutdown,
// after the HTTP server's, and needs no option for it.
//
// # Pull-through caches
//
// A registry middleware sits between a pull-through cache and its storage, and would
// take the first pull of everything for a push. In front of the cache there is room
// for a repository middleware only. A server with proxy.remoteurl has both:
//
//	middleware:
//	  registry:
//	    - name: notifications
//	      options:
//	        pullthrough: true
//	        endpoints: […]
//	  repository:
//	    - name: notifications
//
// The first reads the options, when the server starts, and runs the hub; the second,
// which has no options, reports what clients do. A pull-through cache does not
// close its middleware: events go out until the application's context has ended and
// draintimeout is over, if the process lives that long, which a stock server's does
// not.
package middleware
