package notifications

import "time"

// remember has a cursor keep the attempts at what comes from it.
func (s *retryingSink) remember(c AttemptCursor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keeper = c
}

// count adds a failure to what is known of an attempt at events: by this process, and by
// those before it.
func (s *retryingSink) count(r *record, err error, events []*Event) {
	s.mu.Lock()
	keeper := s.keeper
	s.mu.Unlock()
	if keeper == nil || s.config.MaxAttempts == 0 && s.config.MaxAge == 0 {
		r.add(err)
		return
	}
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.read().ID
	}
	var attempts int
	var first time.Time
	if r.attempts == 0 {
		attempts, first = keeper.Attempts(ids...)
	}
	r.add(err)
	if r.attempts += attempts; attempts > 0 {
		r.first = first
	}
	keeper.Tried(r.attempts, r.first, ids...)
}
