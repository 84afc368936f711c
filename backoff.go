package notifications

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff is a series of delays: exponential, with full jitter, so that a thousand
// registries do not come back to a mended receiver in the same moment.
type backoff struct {
	min, max time.Duration
	failures int
}

// next returns how long to wait after one more failure: a random time above zero,
// up to a ceiling that is min at first and doubles until it is max.
func (b *backoff) next() time.Duration {
	ceiling := b.ceiling()
	if ceiling < b.max {
		b.failures++ // not for ever: at the ceiling the count means nothing more
	}
	return ceiling - rand.N(ceiling) // above zero
}

// ceiling doubles step by step, because a shift by the number of failures
// overflows after some sixty of them.
func (b *backoff) ceiling() time.Duration {
	c := b.min
	for range b.failures {
		if c > b.max/2 {
			return b.max
		}
		c *= 2
	}
	return min(c, b.max)
}

func (b *backoff) reset() { b.failures = 0 }

// setBackoff checks two configured delays and fills in the defaults, one second
// and maxDefault.
func setBackoff(minimum, maximum *time.Duration, maxDefault time.Duration) error {
	if err := notNegative("backoff", *minimum); err != nil {
		return err
	}
	if err := notNegative("maxbackoff", *maximum); err != nil {
		return err
	}
	if *minimum == 0 {
		*minimum = time.Second
		if *maximum > 0 {
			*minimum = min(*minimum, *maximum)
		}
	}
	if *maximum == 0 {
		*maximum = max(maxDefault, *minimum)
	}
	if *maximum < *minimum {
		return wrong("maxbackoff", "%v: allowed is the backoff, %v, and above", *maximum, *minimum)
	}
	return nil
}

func notNegative(field string, d time.Duration) error {
	if d < 0 {
		return wrong(field, "%v: allowed are zero, for the default, and above", d)
	}
	return nil
}

// sleep waits for d or until ctx ends, and then returns why it did.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
