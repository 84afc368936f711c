// Package recent has a map of bounded size.
package recent

import (
	"container/list"
	"sync"
)

// Map is a map of bounded size, which forgets what was not used for longest. Its
// methods may be called at once from several goroutines.
type Map[K comparable, V any] struct {
	most int

	mu    sync.Mutex // guards the rest
	items map[K]*list.Element
	order list.List // of entry[K, V], the newest first
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

// New returns a map for so many keys at most.
func New[K comparable, V any](most int) *Map[K, V] {
	return &Map[K, V]{most: most}
}

// Get returns what is known of a key.
func (m *Map[K, V]) Get(key K) (value V, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	item := m.items[key]
	if item == nil {
		return value, false
	}
	m.order.MoveToFront(item)
	return item.Value.(*entry[K, V]).value, true
}

// Put keeps a value.
func (m *Map[K, V]) Put(key K, value V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if item := m.items[key]; item != nil {
		item.Value.(*entry[K, V]).value = value
		m.order.MoveToFront(item)
		return
	}
	if m.items == nil {
		m.items = make(map[K]*list.Element)
	}
	m.items[key] = m.order.PushFront(&entry[K, V]{key, value})
	if m.order.Len() > m.most {
		m.remove(m.order.Back())
	}
}

// Take returns what is known of a key, and forgets it.
func (m *Map[K, V]) Take(key K) (value V, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	item := m.items[key]
	if item == nil {
		return value, false
	}
	m.remove(item)
	return item.Value.(*entry[K, V]).value, true
}

func (m *Map[K, V]) remove(item *list.Element) {
	delete(m.items, m.order.Remove(item).(*entry[K, V]).key)
}

// Len returns how many keys are known.
func (m *Map[K, V]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.items)
}
