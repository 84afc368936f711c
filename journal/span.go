package journal

import "fmt"

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
