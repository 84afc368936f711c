package ociregistry

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/distribution/distribution/v3"
	"github.com/opencontainers/go-digest"

	"github.com/registry-notifications/notifications"
)

func (h *handler) getManifest(w http.ResponseWriter, r *http.Request, to route) {
	k := unnamed
	switch {
	case r.Method == http.MethodHead:
		k = nothing
	case h.config.IncludeReferences:
		k = always
	}
	answer := h.serve(w, r, k)
	if answer.status != http.StatusOK {
		return
	}
	size := answer.length()
	if r.Method == http.MethodHead {
		if !h.config.CountHEAD {
			return
		}
	} else if !answer.isWhole() {
		return
	}
	h.bridge.Report(r, notifications.ActionPull, h.describe(to, answer.Header(), answer.Header(), size, answer.body))
}

func (h *handler) putManifest(w http.ResponseWriter, r *http.Request, to route) {
	body := new(received)
	body.keep(h.config.MaxManifest)
	answer := h.serve(w, body.of(r), nothing)
	if !answer.isSuccess() {
		return
	}
	size, kept := body.result(r.ContentLength)
	h.bridge.Report(r, notifications.ActionPush, h.describe(to, r.Header, answer.Header(), size, kept))
}

// describe returns the target that a manifest makes. sender is the header of whoever sent
// it, and answer that of the registry. A size below zero is not known.
func (h *handler) describe(to route, sender, answer http.Header, size int64, body *copied) notifications.Target {
	t := notifications.Target{
		Type: notifications.TypeManifest, Repository: to.name, Size: max(size, 0),
		MediaType: mediaTypeOf(sender, ""), Digest: digestOf(answer, to.reference),
	}
	if !isDigest(to.reference) {
		t.Tag = to.reference
	}
	content := body.whole(size)
	if t.Digest == "" && content != nil {
		t.Digest = digest.FromBytes(content)
	}
	if content != nil && (h.config.IncludeReferences || t.MediaType == "") {
		parsed := parseManifest(content)
		if t.MediaType == "" {
			t.MediaType = parsed.MediaType
		}
		if h.config.IncludeReferences {
			t.References = parsed.references()
		}
	}
	return t
}

// described is what this package wants to know of a manifest, or an index, of any kind.
type described struct {
	MediaType string                    `json:"mediaType"`
	Config    *distribution.Descriptor  `json:"config"`
	Layers    []distribution.Descriptor `json:"layers"`
	Blobs     []distribution.Descriptor `json:"blobs"` // of an artifact manifest
	Manifests []distribution.Descriptor `json:"manifests"`
}

// maxObjects is how many descriptors a manifest may have, and what else stands in braces,
// to be parsed: empty ones take little of a manifest, and much of the memory.
const maxObjects = 16 << 10

// parseManifest returns what a manifest says. Of one that is none a registry may have its
// own opinion: it says nothing then.
func parseManifest(content []byte) (d described) {
	if bytes.Count(content, []byte("{")) > maxObjects {
		return described{}
	}
	if err := json.Unmarshal(content, &d); err != nil {
		return described{}
	}
	return d
}

// references returns what a manifest refers to, in its order.
func (d *described) references() (refs []distribution.Descriptor) {
	if d.Config != nil {
		refs = append(refs, *d.Config)
	}
	refs = append(refs, d.Layers...)
	refs = append(refs, d.Blobs...)
	return append(refs, d.Manifests...)
}
