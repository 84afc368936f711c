package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/registry-notifications/notifications"
)

// audit compares what was accepted with what has come.
type audit struct {
	registries []string
	accepted   map[string][]string    // IDs, by registry
	stream     []notifications.Record // all of it
	came       []*notifications.Event // to the webhook
	marks      []mark
	pushed     map[string][]string // tags, by repository, as the clients pushed them
}

// mark is a moment of which the servers have said how much is acknowledged.
type mark struct {
	came         int    // so many events to the webhook
	acknowledged uint64 // position in the stream
}

// account is what became of one registry's events.
type account struct {
	registry                                         string
	accepted, inStream, delivered, twice, lost, late int
}

// accounts returns one for each registry, and one of all.
func (a *audit) accounts() []account {
	positions, times := a.positions(), a.times()
	late := a.late()
	all := account{registry: "all"}
	var accounts []account
	for _, name := range a.registries {
		r := account{registry: name, accepted: len(a.accepted[name])}
		for _, id := range a.accepted[name] {
			if positions[id] > 0 {
				r.inStream++
			}
			if times[id] == 0 {
				r.lost++
				continue
			}
			r.delivered++
			r.twice += times[id] - 1
			if late[id] {
				r.late++
			}
		}
		accounts = append(accounts, r)
		all.accepted += r.accepted
		all.inStream += r.inStream
		all.delivered += r.delivered
		all.twice += r.twice
		all.lost += r.lost
		all.late += r.late
	}
	return append(accounts, all)
}

// positions returns where in the stream each ID is.
func (a *audit) positions() map[string]uint64 {
	positions := make(map[string]uint64)
	for _, r := range a.stream {
		positions[r.Event.ID] = r.Position
	}
	return positions
}

// times returns how often each ID has come.
func (a *audit) times() map[string]int {
	times := make(map[string]int)
	for _, e := range a.came {
		times[e.ID]++
	}
	return times
}

// firsts calls f for each event when it comes for the first time.
func (a *audit) firsts(f func(*notifications.Event)) {
	seen := make(map[string]bool)
	for _, e := range a.came {
		if !seen[e.ID] {
			seen[e.ID] = true
			f(e)
		}
	}
}

// late returns what came for the first time behind something that its repository has behind it
// in the stream.
func (a *audit) late() map[string]bool {
	positions, last, late := a.positions(), make(map[string]uint64), make(map[string]bool)
	a.firsts(func(e *notifications.Event) {
		p := positions[e.ID]
		if p < last[e.Target.Repository] {
			late[e.ID] = true
		}
		last[e.Target.Repository] = max(p, last[e.Target.Repository])
	})
	return late
}

// check returns everything that is wrong.
func (a *audit) check() error {
	var errs []error
	accounts := a.accounts()
	all := accounts[len(accounts)-1]
	for _, wrong := range []struct {
		n    int
		what string
	}{
		{all.accepted - all.inStream, "accepted and not in the stream"},
		{len(a.stream) - all.inStream, "in the stream, and not accepted or there already"},
		{all.lost, "accepted and not delivered"},
		{all.late, "delivered behind what came after them"},
		{a.needless(), "delivered again after they were acknowledged"},
	} {
		if wrong.n != 0 {
			errs = append(errs, fmt.Errorf("%d events are %s", wrong.n, wrong.what))
		}
	}
	return errors.Join(append(errs, a.checkPushes()...)...)
}

// needless counts what has come again although it was acknowledged when something was killed.
func (a *audit) needless() (n int) {
	positions, seen := a.positions(), make(map[string]bool)
	for i, e := range a.came {
		if seen[e.ID] && slices.ContainsFunc(a.marks, func(m mark) bool {
			return m.came <= i && positions[e.ID] <= m.acknowledged
		}) {
			n++
		}
		seen[e.ID] = true
	}
	return n
}

// checkPushes compares the images of each repository with what its client did.
func (a *audit) checkPushes() (errs []error) {
	came := make(map[string][]string)
	a.firsts(func(e *notifications.Event) {
		if t := e.Target; e.Action == notifications.ActionPush && t.Type == notifications.TypeManifest {
			came[t.Repository] = append(came[t.Repository], t.Tag)
		}
	})
	for repository, tags := range a.pushed {
		if !slices.Equal(tags, came[repository]) {
			errs = append(errs, fmt.Errorf("%s: pushed were %v, and what came is %v", repository, tags, came[repository]))
		}
	}
	return errs
}
