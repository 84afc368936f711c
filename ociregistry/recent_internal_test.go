package ociregistry

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRecent(t *testing.T) {
	r := newRecent[string, int](3)
	has := func(key string) bool { _, ok := r.get(key); return ok }
	for i, key := range []string{"a", "b", "c"} {
		r.put(key, i)
	}
	assert.Equal(t, 3, r.size())
	assert.True(t, has("a"), "which makes it the newest")
	r.put("d", 3)
	assert.Equal(t, 3, r.size())
	assert.False(t, has("b"), "the one that was not used for longest")

	r.put("c", 7) // which makes it the newest
	r.put("e", 4)
	assert.False(t, has("a"))
	v, ok := r.get("c")
	assert.True(t, ok)
	assert.Equal(t, 7, v)

	v, ok = r.take("c")
	assert.True(t, ok)
	assert.Equal(t, 7, v)
	_, ok = r.take("c")
	assert.False(t, ok)
	assert.Equal(t, 2, r.size())
	assert.Equal(t, r.size(), r.order.Len())
}
