package main

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sync"
)

// event is what this program reads of an event. There is more in it.
type event struct {
	ID     string `json:"id"`
	Action string `json:"action"`
	Target struct {
		Type           string `json:"type"`
		Repository     string `json:"repository"`
		FromRepository string `json:"fromRepository"`
		Tag            string `json:"tag"`
		Digest         string `json:"digest"`
	} `json:"target"`
	Actor struct {
		Name string `json:"name"`
	} `json:"actor"`
}

// receiver prints events. Its status tells the registry what to do: 2xx means that
// it has the events, 4xx that it never will, 5xx that they are to come again.
type receiver struct {
	out    io.Writer
	limit  int    // of events; 0 is none
	enough func() // is called at the limit

	mu   sync.Mutex // guards the rest
	seen map[string]bool
}

func (rc *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "events come by POST", http.StatusMethodNotAllowed)
		return
	}
	switch mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); mediaType {
	case "application/vnd.docker.distribution.events.v2+json", "application/vnd.docker.distribution.events.v1+json":
	default:
		http.Error(w, "this is not an envelope of events", http.StatusUnsupportedMediaType)
		return
	}
	var envelope struct {
		Events []event `json:"events"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 16<<20)).Decode(&envelope); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, e := range envelope.Events {
		rc.receive(e)
	}
}

func (rc *receiver) receive(e event) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if rc.seen[e.ID] {
		return // an event may come more than once, with the same ID
	}
	rc.seen[e.ID] = true

	t := e.Target
	what := t.Repository
	if t.Tag != "" {
		what += ":" + t.Tag
	}
	if t.Digest != "" {
		what += "@" + t.Digest
	}
	if t.FromRepository != "" {
		what += " from " + t.FromRepository
	}
	if e.Actor.Name != "" {
		what += " by " + e.Actor.Name
	}
	fmt.Fprintf(rc.out, "%s %s %s\n", e.Action, t.Type, what)
	if rc.limit > 0 && len(rc.seen) >= rc.limit {
		rc.enough()
	}
}
