package recent

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRecent(t *testing.T) {
	r := New[string, int](3)
	has := func(key string) bool { _, ok := r.Get(key); return ok }
	for i, key := range []string{"a", "b", "c"} {
		r.Put(key, i)
	}
	assert.Equal(t, 3, r.Len())
	assert.True(t, has("a"), "which makes it the newest")
	r.Put("d", 3)
	assert.Equal(t, 3, r.Len())
	assert.False(t, has("b"), "the one that was not used for longest")

	r.Put("c", 7) // which makes it the newest
	r.Put("e", 4)
	assert.False(t, has("a"))
	v, ok := r.Get("c")
	assert.True(t, ok)
	assert.Equal(t, 7, v)

	v, ok = r.Take("c")
	assert.True(t, ok)
	assert.Equal(t, 7, v)
	_, ok = r.Take("c")
	assert.False(t, ok)
	assert.Equal(t, 2, r.Len())
	assert.Equal(t, r.Len(), r.order.Len())
}
