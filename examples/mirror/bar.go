package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/registry-notifications/notifications/observer"
)

// bar shows how far an observer has loaded, on one line of a terminal or, where there is
// none, on a line for each tenth.
type bar struct {
	to       io.Writer
	terminal bool
	shown    int // tenths
}

const barWidth = 20

// show is an observer's Progress.
func (b *bar) show(p observer.Progress) {
	done := 1.0
	if p.Total > 0 {
		done = float64(p.Events) / float64(p.Total)
	}
	tenths := int(done * 10)
	if !b.terminal && !p.Done && tenths == b.shown {
		return
	}
	b.shown = tenths
	full := int(done * barWidth)
	line := fmt.Sprintf("  loading [%s%s] %3.0f%%  %d of %d events, %d repositories",
		strings.Repeat("#", full), strings.Repeat(".", barWidth-full), done*100, p.Events, p.Total, p.Repositories)
	if !p.Done {
		line += fmt.Sprintf(", %.0f/s, %v left", p.Rate, p.Left.Round(time.Second))
	}
	switch {
	case !b.terminal:
		line += "\n"
	case p.Done:
		line = "\r" + line + "\x1b[K\n"
	default:
		line = "\r" + line + "\x1b[K" // clears what is left of a longer one
	}
	_, _ = io.WriteString(b.to, line)
}
