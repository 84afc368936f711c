// Package byterange reads what HTTP says of parts of a content (RFC 9110, 14).
package byterange

import (
	"math"
	"strconv"
	"strings"
)

// HasFirst says whether a Range header asks for all of a content, or for parts of which
// one has the first byte. A size of zero is not known.
func HasFirst(header string, size int64) bool {
	if header == "" {
		return true
	}
	unit, ranges, ok := strings.Cut(header, "=")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return true // another unit, which a server ignores
	}
	for _, one := range strings.Split(ranges, ",") {
		first, last, _ := strings.Cut(one, "-")
		first, last = strings.TrimSpace(first), strings.TrimSpace(last)
		if first == "" {
			if n, err := strconv.ParseInt(last, 10, 64); err == nil && size > 0 && n >= size {
				return true
			}
		} else if n, err := strconv.ParseInt(first, 10, 64); err == nil && n == 0 {
			return true
		}
	}
	return false
}

// Asked returns the part of a content of that size, in bytes, that a Range header asks
// for. ok is false if it asks for several, or for none that there is.
func Asked(header string, size int64) (part Part, ok bool) {
	one, isBytes := strings.CutPrefix(header, "bytes=")
	first, last, isSpan := strings.Cut(one, "-")
	if !isBytes || !isSpan || strings.Contains(one, ",") {
		return part, false
	}
	first, last = strings.TrimSpace(first), strings.TrimSpace(last)
	part.To = size
	if first == "" {
		n, err := strconv.ParseInt(last, 10, 64)
		part.From = max(size-n, 0)
		return part, err == nil && n > 0 && size > 0
	}
	var err error
	if part.From, err = strconv.ParseInt(first, 10, 64); err != nil || part.From < 0 {
		return Part{}, false
	}
	if last != "" {
		n, err := strconv.ParseInt(last, 10, 64)
		if err != nil || n < part.From {
			return Part{}, false
		}
		part.To = min(size-1, n) + 1
	}
	return part, part.From < part.To
}

// Part is some bytes of a content: from the first on, up to one before the end.
type Part struct{ From, To int64 }

// ParseContent reads a Content-Range header: which part of how much an answer has. The
// total is zero if it does not say. ok is false for an answer that has several parts, and
// for one that does not say which it has.
func ParseContent(header string) (part Part, total int64, ok bool) {
	header, isBytes := strings.CutPrefix(header, "bytes ")
	span, all, found := strings.Cut(header, "/")
	first, last, isSpan := strings.Cut(span, "-")
	if !isBytes || !found || !isSpan {
		return part, 0, false
	}
	from, err1 := strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	if err1 != nil || err2 != nil || from < 0 || to < from || to == math.MaxInt64 {
		return part, 0, false
	}
	if n, err := strconv.ParseInt(all, 10, 64); err == nil && n > to {
		total = n
	}
	return Part{from, to + 1}, total, true
}
