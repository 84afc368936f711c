package main

import (
	"context"
	"strings"
	"sync"

	"github.com/registry-notifications/notifications/observer"
)

// ledger knows which manifests the target may have, by what is written down before each is
// copied. The target cannot be asked: no registry lists the manifests that have no tag. It
// is needed for those that were copied and then, while nobody watched, deleted at the
// source: of them nobody is told.
type ledger struct {
	store observer.Store

	mu  sync.Mutex // guards all, and is held while store is at work
	all map[string]map[string]bool
}

// openLedger reads what a store has. It has to be one of the ledger's own.
func openLedger(ctx context.Context, store observer.Store) (*ledger, error) {
	stored, err := store.Load(ctx)
	if err != nil {
		return nil, err
	}
	l := &ledger{store: store, all: make(map[string]map[string]bool)}
	for key := range stored {
		repository, manifest, _ := strings.Cut(key, "@")
		l.set(repository, manifest, true)
	}
	return l, nil
}

// add writes a manifest down, by its digest.
func (l *ledger) add(ctx context.Context, repository, manifest string) error {
	return l.change(ctx, repository, manifest, true)
}

// remove strikes a manifest out. What is not in it, a tag for example, may be given.
func (l *ledger) remove(ctx context.Context, repository, manifest string) error {
	return l.change(ctx, repository, manifest, false)
}

func (l *ledger) change(ctx context.Context, repository, manifest string, there bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all[repository][manifest] == there {
		return nil
	}
	var value []byte // forgets it
	if there {
		value = []byte("true")
	}
	if err := l.store.Save(ctx, map[string][]byte{repository + "@" + manifest: value}); err != nil {
		return err
	}
	l.set(repository, manifest, there)
	return nil
}

func (l *ledger) set(repository, manifest string, there bool) {
	if l.all[repository] == nil {
		l.all[repository] = make(map[string]bool)
	}
	l.all[repository][manifest] = there
	if !there {
		delete(l.all[repository], manifest)
	}
}

// list returns the manifests of a repository.
func (l *ledger) list(repository string) (manifests []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for m := range l.all[repository] {
		manifests = append(manifests, m)
	}
	return manifests
}
