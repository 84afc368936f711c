package byterange

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestHasFirst(t *testing.T) {
	for _, row := range []struct {
		header string
		size   int64
		has    bool
	}{
		{"", 0, true},
		{"", 10, true},
		{"bytes=0-", 10, true},
		{"bytes=0-0", 10, true},
		{"bytes=00-5", 10, true},
		{"Bytes=0-5", 10, true},
		{"bytes=1-", 10, false},
		{"BYTES=1-", 10, false},
		{"bytes=10-20", 10, false},
		{"bytes=-10", 10, true},
		{"bytes=-11", 10, true},
		{"bytes=-9", 10, false},
		{"bytes=-10", 0, false},
		{"bytes=-0", 0, false},
		{"bytes=-0", 10, false},
		{"bytes=5-6, 0-1", 10, true},
		{"bytes=5-6,1-2", 10, false},
		{"bytes=1-2,-10", 10, true},
		{"bytes= 0 - 5 ", 10, true},
		{"bytes=", 10, false},
		{"bytes=,", 10, false},
		{"bytes=x-y", 10, false},
		{"bytes=0x0-5", 10, false},
		{"bytes=-99999999999999999999", 10, false},
		{"bytes=99999999999999999999-", 10, false},
		{"lines=5-6", 10, true},
		{"bytes", 10, true},
	} {
		assert.Equal(t, row.has, HasFirst(row.header, row.size), "%q of %d", row.header, row.size)
	}
}

func TestParseContent(t *testing.T) {
	for header, want := range map[string]struct {
		part  Part
		total int64
		ok    bool
	}{
		"bytes 0-9/100":                   {Part{0, 10}, 100, true},
		"bytes 90-99/100":                 {Part{90, 100}, 100, true},
		"bytes 0-0/1":                     {Part{0, 1}, 1, true},
		"bytes 0-9/*":                     {Part{0, 10}, 0, true},
		"bytes 0-9/9":                     {Part{0, 10}, 0, true},
		"bytes 0-9/x":                     {Part{0, 10}, 0, true},
		"bytes 0-9223372036854775806/*":   {Part{0, 9223372036854775807}, 0, true},
		"":                                {},
		"bytes */100":                     {},
		"bytes=0-9/100":                   {},
		"bytes 0-9":                       {},
		"bytes 9/100":                     {},
		"bytes 9-0/100":                   {},
		"bytes -1-9/100":                  {},
		"bytes 0--9/100":                  {},
		"bytes x-9/100":                   {},
		"bytes 0-x/100":                   {},
		"lines 0-9/100":                   {},
		"bytes 0-9223372036854775807/*":   {},
		"bytes 0-99999999999999999999/*":  {},
		"bytes -9223372036854775808-1/10": {},
	} {
		part, total, ok := ParseContent(header)
		assert.Equal(t, want.ok, ok, "%q", header)
		if ok {
			assert.Equal(t, want.part, part, "%q", header)
			assert.Equal(t, want.total, total, "%q", header)
		}
	}
}

func TestAsked(t *testing.T) {
	for header, want := range map[string]Part{
		"bytes=0-": {0, 10}, "bytes=0-0": {0, 1}, "bytes=5-": {5, 10}, "bytes=5-6": {5, 7}, "bytes=5-99": {5, 10}, "bytes=9-9": {9, 10},
		"bytes=-1": {9, 10}, "bytes=-10": {0, 10}, "bytes=-99": {0, 10}, "bytes= 1 - 2 ": {1, 3},
		"bytes=0-9223372036854775807": {0, 10},
		"":                            {}, "bytes=": {}, "bytes=-": {}, "bytes=-0": {}, "bytes=10-": {}, "bytes=6-5": {}, "bytes=0-1,3-4": {}, "bytes=x-": {}, "bytes=0-x": {},
		"bytes=--5": {}, "lines=0-": {}, "bytes=5": {}, "bytes=0-99999999999999999999": {},
	} {
		part, ok := Asked(header, 10)
		assert.Equal(t, want != Part{}, ok, "%q", header)
		if ok {
			assert.Equal(t, want, part, "%q", header)
		}
	}
	for _, header := range []string{"bytes=0-", "bytes=0-0", "bytes=-1"} {
		_, ok := Asked(header, 0)
		assert.False(t, ok, "%q of nothing", header)
	}
}

// FuzzRanges compares what the headers say with what http.ServeContent makes of them.
func FuzzRanges(f *testing.F) {
	for _, s := range []string{"bytes=0-", "bytes=-5", "bytes=1-2,0-0", "bytes=9-3", "bytes=0-0,-1", "", "bytes=--1", "bytes=0 - 1"} {
		f.Add(s, uint8(10))
	}
	f.Fuzz(func(t *testing.T, header string, size uint8) {
		size = max(size, 1) // nothing has no first byte
		content := make([]byte, size)
		for i := range content {
			content[i] = byte(i + 1)
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Range", header)
		w := httptest.NewRecorder()
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		part, total, single := ParseContent(w.Header().Get("Content-Range"))
		switch {
		case w.Code == http.StatusPartialContent && single:
			if asked, ok := Asked(header, int64(size)); ok || !strings.Contains(header, ",") {
				assert.Equal(t, part, asked, "%q of %d", header, size)
			}
			assert.EqualValues(t, size, total)
			assert.Equal(t, content[part.From:part.To], w.Body.Bytes())
			assert.Equal(t, part.From == 0, HasFirst(header, int64(size)), "%q of %d", header, size)
		case w.Code == http.StatusPartialContent:
			first := strings.Contains(w.Body.String(), "Content-Range: bytes 0-")
			assert.Equal(t, first, HasFirst(header, int64(size)), "%q of %d: %s", header, size, fmt.Sprint(w.Header()))
		}
	})
}
