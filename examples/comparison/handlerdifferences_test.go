package comparison

import (
	"net"
	"net/http"
)

// only is the differences that there are of any events.
func only(ds ...func() difference) func([]values) []difference {
	return func([]values) (all []difference) {
		for _, d := range ds {
			all = append(all, d())
		}
		return all
	}
}

// usual is the differences that there are of most clients.
func usual(theirs []values) []difference { return []difference{sameRequest(), untagged(theirs)} }

// sameRequest is a difference in how a request is called. It has to be one request in
// both streams all the same.
func sameRequest() difference {
	there, here := make(map[string]string), make(map[string]string)
	return difference{
		name: "a request has an ID of each source's own",
		why:  "a stock server makes its ID inside: RecordRequests in front makes one for both",
		apply: func(theirs, ours values) bool {
			their, our := text(theirs, "request", "id"), text(ours, "request", "id")
			if there[their] == "" && here[our] == "" {
				there[their], here[our] = our, their
			}
			if their == "" || our == "" || there[their] != our || here[our] != their {
				return false
			}
			theirs["request"].(values)["id"] = our
			return their != our
		},
	}
}

// untagged is a difference of a stream in which a registry has deleted tags together
// with their manifest.
func untagged(theirs []values) difference {
	deleted := make(map[string]bool)
	for _, e := range theirs {
		if text(e, "action") == "delete" && text(e, "target", "type") == "manifest" {
			deleted[text(e, "request", "id")] = true
		}
	}
	return difference{
		name: "tags that a registry deletes with their manifest are not seen in front",
		why:  "neither the request nor the answer names them, and other registries keep them",
		omits: func(theirs values, _ request) bool {
			return text(theirs, "target", "type") == "tag" && deleted[text(theirs, "request", "id")]
		},
	}
}

// unknownActor is a difference of a server that checks its clients itself.
var unknownActor = differs("whom a server has recognized is not known in front", "the answer does not say: access control in front names the actor for both by ContextWithActor", "actor", "name")

// noPort is a difference between both sides of a proxy.
var noPort = difference{
	name: "behind a proxy the client's port is not known",
	why:  "X-Forwarded-For has none",
	apply: func(theirs, ours values) bool {
		addr := text(ours, "request", "addr")
		host, port, err := net.SplitHostPort(addr)
		if err != nil || port == "" || text(theirs, "request", "addr") != host {
			return false
		}
		theirs["request"].(values)["addr"] = addr
		return true
	},
}

// notPassedBy is a difference of a handler that sees something for the first time.
var notPassedBy = difference{
	name: "the size of what has not passed by is not known",
	why:  "the answer to a mount does not say it, nor does that to the end of an upload in pieces",
	apply: func(theirs, ours values) bool {
		t, action := target(theirs), text(theirs, "action")
		if t["type"] != "blob" || action != "push" && action != "mount" || t["size"] == nil || target(ours)["size"] != nil {
			return false
		}
		delete(t, "size")
		delete(t, "length")
		return true
	},
}

// onlyLooked is a difference of a handler that counts a HEAD.
var onlyLooked = difference{
	name: "what a manifest refers to is not known in front of a HEAD",
	why:  "its answer has no content",
	apply: func(theirs, ours values) bool {
		t := target(theirs)
		if text(theirs, "request", "method") != http.MethodHead || t["references"] == nil || target(ours)["references"] != nil {
			return false
		}
		delete(t, "references")
		delete(t, "totalSize")
		return true
	},
}

// notAcceptable is a difference in when a pull is one.
var notAcceptable = difference{
	name: "a manifest that the client does not accept is no pull in front",
	why:  "a server decides that after its repository has given the manifest, which is all that decorators see",
	omits: func(theirs values, by request) bool {
		return text(theirs, "action") == "pull" && by.status == http.StatusNotFound
	},
}

// lookedUp is a difference of a stream in which a server has taken a manifest out of a
// list, for a client that knows no lists.
func lookedUp(theirs []values) difference {
	pulls := make(map[string][]values)
	for _, e := range theirs {
		if text(e, "action") == "pull" && text(e, "target", "type") == "manifest" {
			id := text(e, "request", "id")
			pulls[id] = append(pulls[id], e)
		}
	}
	return difference{
		name: "a manifest that a server finds in a list is one pull in front, by the tag of the list",
		why:  "that is what the client has asked for and got: decorators see two, that of the list and that of the manifest",
		omits: func(theirs values, _ request) bool {
			both := pulls[text(theirs, "request", "id")]
			return len(both) == 2 && text(theirs, "id") == text(both[0], "id")
		},
		apply: func(theirs, ours values) bool {
			both := pulls[text(theirs, "request", "id")]
			if len(both) != 2 {
				return false
			}
			target(theirs)["tag"] = text(both[0], "target", "tag")
			return true
		},
	}
}
