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
//	        events:
//	          includereferences: true
//	        dispatchtimeout: 1s
//	        draintimeout: 10s
//	        trustedproxies: 0
//	        trustbasicuser: false
//	        pullthrough: false
//	        endpoints:
//	          - name: audit
//	            url: https://audit.example.org/events
//	            headers:
//	              Authorization: [Bearer …]
//	            timeout: 5s
//	            threshold: 10
//	            backoff: 1s
//	            maxbackoff: 5m
//	            ignore:
//	              actions: [pull]
//
// # Options
//
// All of them may be left out.
//
//   - endpoints: the webhooks, each with the options of
//     [notifications.EndpointConfig]. A name is used once. One with disabled: true
//     is left out.
//   - events.includereferences: puts the references of a manifest into its events.
//   - url: where clients find the registry, for the URLs in the events. Without it
//     they are made from the host that the client used.
//   - addr: what the server listens on, as http.addr has it. Its port becomes part of
//     source.addr. Default :5000.
//   - dispatchtimeout: how long a client may be made to wait for the hub to take an
//     event. Default 1s.
//   - draintimeout: how long the end of the server may wait for events to be
//     delivered. Default 10s. It begins when http.draintimeout is over.
//   - trustedproxies, trustbasicuser: whom to believe who made a request, see
//     [notifications.BridgeConfig].
//   - pullthrough: see below.
//
// An option that is not known, a duration without its unit, a URL that cannot be
// posted to: the server does not start, and says which option it was, as in
//
//	middleware.registry.notifications.endpoints[1].timeout: 500: allowed is text with a unit, as "500ms" or "1m30s"
//
// # The end
//
// The server closes a registry middleware at its end if http.draintimeout is above
// zero. Zero is its default, and then what is still in memory is lost. A program
// that builds its own server calls the App's Shutdown, after the HTTP server's, and
// needs no option for it.
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
