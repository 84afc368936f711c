package ociregistry

import (
	"container/list"
	"sync"
)

// recent is a map of bounded size, which forgets what was not used for longest. Its
// methods may be called at once from several goroutines.
type recent[K comparable, V any] struct {
	most int

	mu    sync.Mutex // guards the rest
	items map[K]*list.Element
	order list.List // of entry[K, V], the newest first
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

func newRecent[K comparable, V any](most int) *recent[K, V] {
	return &recent[K, V]{most: most, items: make(map[K]*list.Element)}
}

// get returns what is known of a key.
func (r *recent[K, V]) get(key K) (value V, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	item := r.items[key]
	if item == nil {
		return value, false
	}
	r.order.MoveToFront(item)
	return item.Value.(*entry[K, V]).value, true
}

// put keeps a value.
func (r *recent[K, V]) put(key K, value V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if item := r.items[key]; item != nil {
		item.Value.(*entry[K, V]).value = value
		r.order.MoveToFront(item)
		return
	}
	r.items[key] = r.order.PushFront(&entry[K, V]{key, value})
	if r.order.Len() > r.most {
		r.remove(r.order.Back())
	}
}

// take returns what is known of a key, and forgets it.
func (r *recent[K, V]) take(key K) (value V, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	item := r.items[key]
	if item == nil {
		return value, false
	}
	r.remove(item)
	return item.Value.(*entry[K, V]).value, true
}

func (r *recent[K, V]) remove(item *list.Element) {
	delete(r.items, r.order.Remove(item).(*entry[K, V]).key)
}

// size returns how many keys are known.
func (r *recent[K, V]) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.items)
}
