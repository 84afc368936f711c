package observer

import "time"

// Progress is how far a feed is loaded.
type Progress struct {
	Feed         string
	Events       uint64 // that were read, this time
	Total        uint64 // that there are to read, as far as is known
	Repositories int    // that are known
	Rate         float64
	Left         time.Duration // zero if nobody knows
	Done         bool
}

// Stat is what an observer has done with a feed.
type Stat struct {
	Read         uint64 // position of the last event that was read
	Position     uint64 // up to which all is done with and saved
	Waits        uint64 // position in front of which all has to be done with and saved: of a rename, behind one, or behind what was loaded; zero: none
	Repositories int    // that are there
	Failed       int    // of these, those with an error
	Loading      bool
}

func (r *registry) stat() Stat {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Stat{Read: r.seen, Position: r.position, Waits: r.waits, Repositories: len(r.repos), Loading: r.loading}
	for _, repo := range r.repos {
		if repo.state != nil && repo.state.Error != "" {
			s.Failed++
		}
	}
	return s
}

// reportEvery is how often progress is reported.
const reportEvery = 200 * time.Millisecond

// progress is how far a load is.
type progress struct {
	start, reported time.Time
	from, last      uint64
	events          uint64
}

func (p *progress) begin(r *registry) {
	p.start = time.Now()
	p.reported = p.start
	p.from, p.last = r.read, r.feed.Last()
}

// count counts what was loaded, and reports it now and then.
func (p *progress) count(r *registry, events int) {
	p.events += uint64(events)
	if time.Since(p.reported) >= reportEvery {
		p.report(r, false)
	}
}

func (p *progress) report(r *registry, done bool) {
	f := r.o.config.Progress
	if f == nil {
		return
	}
	p.reported = time.Now()
	p.last = max(p.last, r.feed.Last(), r.read)
	r.mu.Lock()
	now := Progress{Feed: r.name, Events: p.events, Total: p.events + p.last - max(r.seen, p.from), Repositories: len(r.repos), Done: done}
	r.mu.Unlock()
	if took := p.reported.Sub(p.start).Seconds(); took > 0 {
		now.Rate = float64(p.events) / took
	}
	if now.Rate > 0 {
		now.Left = time.Duration(float64(now.Total-now.Events) / now.Rate * float64(time.Second))
	}
	f(now)
}
