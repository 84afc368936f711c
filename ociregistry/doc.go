// Package ociregistry is the source for a registry of any kind: an [http.Handler]
// around one that speaks the OCI Distribution Specification (1.1) makes an event of
// each push, pull, mount and delete that succeeds.
//
//	hub, _ := notifications.NewBroadcaster(notifications.HubConfig{})
//	handler := ociregistry.Handler(registry, hub, ociregistry.Config{})
//
// The registry may be a handler in the same process or a reverse proxy to one
// elsewhere. Its answers reach the client as they are, and so do the client's requests
// reach it: bodies are streamed, and of one request at most Config.MaxManifest bytes are
// held, of a manifest. An event is written when the registry has answered; what fails, is
// cut short, or panics makes none. A push that the registry has taken is one, though its
// client may have gone before it heard of that.
//
// # What becomes an event
//
//	PUT    manifests/<reference>           push of a manifest
//	GET    manifests/<reference>           pull of a manifest
//	DELETE manifests/<digest>              delete of a manifest
//	DELETE manifests/<tag>                 delete of a tag
//	GET    blobs/<digest>                  pull of a blob
//	DELETE blobs/<digest>                  delete of a blob
//	POST   blobs/uploads/?digest=…         push of a blob
//	POST   blobs/uploads/?mount=…&from=…   mount of a blob, if the answer is 201
//	PUT    <where the upload is>?digest=…  push of a blob, after any number of PATCH
//
// Everything else (_catalog, tags/list, referrers, what an extension has) makes none.
//
// A mount is believed unless the answer names another blob, in its Docker-Content-Digest or
// its Location. A from that is no repository's name is left out of its event.
//
// What a registry serves under a path that is not quite as specified makes an event where it
// can mean only one thing: a slash at the end, and empty parts in the name before blobs/.
// What makes none, though some registry may serve it: empty parts in the name before
// manifests/, which some take for another repository; empty parts elsewhere; the parts "."
// and ".."; names with capitals, or else not by the specification's grammar.
//
// # What counts as a pull
//
// One download, once. A HEAD is no pull (but see BridgeConfig.CountHEAD), and a
// conditional request is none whose answer is 304. A download by ranges is one pull, at
// the range that has the first byte. A download that breaks off is none; if the same
// client (by User-Agent and address, see BridgeConfig.TrustedProxies) goes on with it later
// and comes to its end, that is one. It has to go on in order: where it gets a later range
// first, and then what lies between, nobody counts it.
//
// A blob that is served by a redirect (302, 303, 307) is pulled: nobody here sees what the
// client does there. A redirect back to the same is none. Nor is one to a login: if its
// path does not have the digest's hex, as storage names blobs, and the answer has
// WWW-Authenticate, or the path has a part "login", "signin" or "sign_in", or the query has
// response_type (OAuth), SAMLRequest, or the path of the request, to lead back to. A login
// that has none of these counts, as storage has names of its own, too.
//
// # What the protocol does not say
//
// The answer to a mount has no size. It is filled in if the blob has passed by before,
// among the last few thousand, and so is that of a redirect. An upload whose parts went
// through another instance has a size only if the registry says it of a later part, or the
// client of the last: with a Content-Range that fits what came with it, and is believed for
// that event alone. A registry that removes tags with their manifest does so unseen.
//
// Both sources around one server, or two handlers, give a request an ID each. Where that is
// not wanted, notifications.RecordRequests in front of both gives it one.
//
// # What a handler cannot do
//
// A server that bounds a body with http.MaxBytesReader closes the connection after its 413;
// through any writer that is not the server's own it does not say so beforehand. An HTTP/2
// client that resets its stream right at the last byte can look like one that has not got
// it.
package ociregistry
