package journal

import (
	"fmt"
	"slices"
	"sort"
)

// Span is a row of positions, both ends included. As positions begin with 1, the zero
// value is none.
type Span struct{ First, Last uint64 }

// Len returns how many positions there are.
func (s Span) Len() uint64 {
	if s.First == 0 || s.Last < s.First {
		return 0
	}
	return s.Last - s.First + 1
}

func (s Span) String() string {
	if s.First == s.Last {
		return fmt.Sprint(s.First)
	}
	return fmt.Sprintf("%d-%d", s.First, s.Last)
}

// spans are rows of positions, in order, of which none touches another.
type spans []Span

// add adds a row, and returns how many of its positions are new.
func (s *spans) add(row Span) (fresh uint64) {
	fresh = row.Len()
	if fresh == 0 {
		return 0
	}
	all := *s
	from := sort.Search(len(all), func(i int) bool { return all[i].Last+1 >= row.First })
	to := from
	for ; to < len(all) && all[to].First <= row.Last+1; to++ {
		fresh -= Span{max(row.First, all[to].First), min(row.Last, all[to].Last)}.Len()
	}
	if from < to {
		row.First, row.Last = min(row.First, all[from].First), max(row.Last, all[to-1].Last)
	}
	*s = slices.Replace(all, from, to, row)
	return fresh
}

// at returns the row that has a position.
func (s spans) at(position uint64) (row Span, ok bool) {
	i := sort.Search(len(s), func(i int) bool { return s[i].Last >= position })
	if i == len(s) || s[i].First > position {
		return Span{}, false
	}
	return s[i], true
}

// forget forgets the rows that end before a position.
func (s *spans) forget(before uint64) {
	n := sort.Search(len(*s), func(i int) bool { return (*s)[i].Last >= before })
	*s = slices.Delete(*s, 0, n)
}
