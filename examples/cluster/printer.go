package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// printer prints for several goroutines.
type printer struct {
	start time.Time

	mu sync.Mutex // guards to
	to io.Writer
}

func newPrinter(to io.Writer) *printer { return &printer{start: time.Now(), to: to} }

func (p *printer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.to.Write(b)
}

func (p *printer) print(format string, args ...any) {
	fmt.Fprintf(p, format+"\n", args...)
}

// tell prints what happens, behind the time since the start.
func (p *printer) tell(format string, args ...any) {
	p.print("%5.1fs  %s", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}
