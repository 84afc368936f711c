package middleware

import (
	"math"
	"strconv"
	"strings"
)

const allowedSize = `a whole number of bytes, or one with KiB, MiB, GiB or TiB behind it, as "64MiB"`

// Units are powers of 1024. MB and the like are not known: half of the world takes them
// for powers of 1000.
var units = []struct {
	name  string
	bytes int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}}

func parseSize(text string) (bytes int64, ok bool) {
	unit := int64(1)
	for _, u := range units {
		if number, has := strings.CutSuffix(text, u.name); has {
			text, unit = number, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > math.MaxInt64/unit || n < math.MinInt64/unit {
		return 0, false
	}
	return n * unit, true
}
