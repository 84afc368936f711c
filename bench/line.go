package main

// line puts a text together without the time that fmt would take, of which the
// making of millions of events would consist.
type line []byte

func (l *line) text(s string) *line {
	*l = append(*l, s...)
	return l
}

// hex adds the last digits of n to the base of 16, decimal to the base of 10.
func (l *line) hex(n uint64, digits int) *line     { return l.number(n, digits, 16) }
func (l *line) decimal(n uint64, digits int) *line { return l.number(n, digits, 10) }

func (l *line) number(n uint64, digits int, base uint64) *line {
	end := len(*l) + digits
	for range digits {
		*l = append(*l, '0')
	}
	for i := 1; i <= digits; i++ {
		(*l)[end-i] = "0123456789abcdef"[n%base]
		n /= base
	}
	return l
}

// done returns the text, and starts the next.
func (l *line) done() string {
	s := string(*l)
	*l = (*l)[:0]
	return s
}
