// Package clients is tests: real clients use real registries, and the events that come are
// compared one by one with what has to come. The registries are go-containerregistry's and
// a stock distribution server with package ociregistry's handler around them, and a stock
// distribution server with the middleware.
//
// What clients do is less alike than what they are for, and shows in the events:
//
//   - An image that is pushed again is one push of a manifest (oras-go, skopeo, podman,
//     buildah), or none (crane and regclient ask by HEAD first).
//   - An artifact with a subject is two pushes where the registry does not list referrers,
//     or does not say so in its answer (oras-go, regclient): the client keeps the list
//     under the tag "sha256-…" of the subject. Listing the referrers then is a pull of that.
//     Skopeo keeps no list.
//   - A copy within a registry mounts what it can. Skopeo, podman and buildah know what from
//     a cache of their own, and never mount an image's configuration.
//   - Skopeo copies an index as one that it writes itself, with another digest. Podman and
//     buildah pack layers anew, so that what they push has other digests than what they got.
//   - To delete a manifest, skopeo and oras-go pull it first.
//   - To see whether there is something newer, podman and buildah pull the manifest.
//   - After a break in the middle of an upload all but regclient begin again. It asks how
//     much has come, and goes on there. One push comes of it either way.
//   - After a break in the middle of a download all but regclient leave it to the user to
//     begin again, with the manifest. Regclient gets the rest by a range (whose end is one
//     more than there is). That is one pull. Go-containerregistry refuses such a range.
//
// The versions are those of go.mod, and Debian 12's skopeo 1.9, podman 4.3 and buildah 1.28.
// Where one of these is not installed its test is skipped, but not in CI.
package clients
