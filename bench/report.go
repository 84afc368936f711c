package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"runtime"
	"strconv"
	"strings"
	"unicode/utf8"
)

func printJSON(w io.Writer, results []result) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	for _, r := range results {
		if err := e.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

var header = []string{
	"name", "ours", "unit", "min", "max", "peer", "(name)", "ratio", "ceiling", "of ceiling", "target", "verdict",
}

// isText are the columns that are aligned to the left.
var isText = map[string]bool{"name": true, "unit": true, "(name)": true, "target": true, "verdict": true}

func printTable(w io.Writer, results []result, o options) error {
	lines := [][]string{header}
	for _, r := range results {
		lines = append(lines, r.cells())
	}
	var b strings.Builder
	align(&b, lines)
	fmt.Fprintf(&b, "\nMedians of %d rounds, also of their ratios; min and max are ours. Ratio is ours / peer.\n", o.rounds)
	if o.short {
		fmt.Fprintln(&b, "A smoke run: the numbers mean nothing.")
	}
	fmt.Fprintf(&b, "%s %s/%s, GOMAXPROCS=%d; receiver in the same process, loopback.\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
	fmt.Fprintln(&b, "go run ./bench; what each row measures: go doc ./bench")
	_, err := io.WriteString(w, b.String())
	return err
}

func (r result) cells() []string {
	if r.Skipped != "" {
		cells := make([]string, len(header))
		cells[0], cells[len(cells)-1] = r.Name, "skipped: "+r.Skipped
		return cells
	}
	verdict := ""
	switch {
	case r.Met != nil && *r.Met:
		verdict = "met"
	case r.Met != nil:
		verdict = "MISSED"
	}
	return []string{
		r.Name, number(r.Ours), r.Unit, number(r.Min), number(r.Max),
		optional(r.Peer), r.PeerName, optional(r.Ratio), optional(r.Ceiling), optional(r.OfCeiling),
		r.Target, verdict,
	}
}

func align(b *strings.Builder, lines [][]string) {
	widths := make([]int, len(header))
	for _, cells := range lines {
		for i, c := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	for _, cells := range lines {
		var line strings.Builder
		for i, c := range cells {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			if isText[header[i]] {
				line.WriteString(c + pad + "  ")
			} else {
				line.WriteString(pad + c + "  ")
			}
		}
		fmt.Fprintln(b, strings.TrimRight(line.String(), " "))
	}
}

func optional(v *float64) string {
	if v == nil {
		return ""
	}
	return number(*v)
}

// number shows three digits or more, the thousands apart.
func number(v float64) string {
	switch abs := math.Abs(v); {
	case abs >= 1000:
		return thousands(strconv.FormatFloat(v, 'f', 0, 64))
	case abs >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case abs >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case abs >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

func thousands(digits string) string {
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}
