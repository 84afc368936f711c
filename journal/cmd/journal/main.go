// Journal looks at the journal in a directory, and changes nothing:
//
//	journal stat DIR     what is there, and where each sink is
//	journal verify DIR   reads all of it, and says what is damaged
//	journal cat DIR      prints the events, one line of JSON each; -after POSITION begins behind one
//
// The exit status is 1 if something is damaged, or cannot be read, and 2 if the command
// is wrong. A journal may be in use meanwhile; what is just being written can then look
// torn. Its dead letters are a journal of their own, in DIR/deadletters.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/journal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		// What the package says begins with its name, which is ours too.
		fmt.Fprintln(os.Stderr, "journal:", strings.TrimPrefix(err.Error(), "journal: "))
	}
	os.Exit(status(err))
}

const usage = `usage: journal stat DIR
       journal verify DIR
       journal cat [-after POSITION] DIR`

// usageError is what is wrong with a command.
type usageError struct{ err error }

func (e *usageError) Error() string { return fmt.Sprintf("%v\n%s", e.err, usage) }
func (e *usageError) Unwrap() error { return e.err }

var errDamaged = errors.New("the journal is damaged")

func status(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.As(err, new(*usageError)):
		return 2
	}
	return 1
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var command string
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet("journal", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error says it, once
	var after uint64
	if command == "cat" {
		flags.Uint64Var(&after, "after", 0, "")
	}
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) || slices.Contains([]string{"help", "-h", "-help", "--help"}, command) {
		fmt.Fprintln(stdout, usage)
		return nil
	}
	switch {
	case !slices.Contains([]string{"stat", "verify", "cat"}, command):
		err = fmt.Errorf("command %q: allowed are stat, verify and cat", command)
	case err == nil && flags.NArg() != 1:
		err = fmt.Errorf("%d directories: allowed is one, behind the flags", flags.NArg())
	}
	if err != nil {
		return &usageError{err}
	}

	switch dir := flags.Arg(0); command {
	case "stat":
		return stat(dir, stdout)
	case "verify":
		return verify(ctx, dir, stdout, stderr)
	default:
		return cat(ctx, dir, after, stdout, stderr)
	}
}

func stat(dir string, out io.Writer) error {
	r, err := journal.Inspect(dir)
	if err != nil {
		return err
	}
	summary(out, r)
	if err := cursors(out, r); err != nil {
		return err
	}
	if letters := filepath.Join(dir, "deadletters"); hasLetters(letters) {
		fmt.Fprintf(out, "there are dead letters: journal cat %s\n", letters)
	}
	return nil
}

// hasLetters says whether there are dead letters that nobody has taken out: their journal
// has one cursor, which stands before the first of them.
func hasLetters(dir string) bool {
	r, err := journal.Inspect(dir)
	return err == nil && r.Last > r.Cursors["live"]
}

func summary(out io.Writer, r *journal.Report) {
	if r.Last < r.First {
		fmt.Fprintf(out, "%s, %d bytes, no records; the next position is %d\n", count(r.Segments, "segment"), r.Bytes, r.First)
	} else {
		fmt.Fprintf(out, "%s, %d bytes, positions %d to %d\n", count(r.Segments, "segment"), r.Bytes, r.First, r.Last)
	}
	if r.TornBytes > 0 {
		fmt.Fprintf(out, "torn tail: %d bytes that were never acknowledged: they are being written, or the next start cuts them off\n", r.TornBytes)
	}
	for _, path := range r.Headers {
		fmt.Fprintf(out, "damaged header: %s; its records are read all the same\n", path)
	}
}

func count[N int | uint64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func cursors(out io.Writer, r *journal.Report) error {
	if r.NoCursors {
		fmt.Fprintln(out, "the cursors are damaged: at the next start every sink begins with the oldest record")
		return nil
	}
	if len(r.Cursors) == 0 {
		fmt.Fprintln(out, "no sinks")
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "settled up to\tbehind\t  sink")
	for _, name := range slices.Sorted(maps.Keys(r.Cursors)) {
		position := r.Cursors[name]
		var behind uint64
		if position < r.Last {
			behind = r.Last - position
		}
		fmt.Fprintf(w, "%d\t%d\t  %s\n", position, behind, name)
	}
	return w.Flush()
}

// every is how often progress is printed.
const every = time.Second

// verify reads the journal and, where there is one, that of its dead letters.
func verify(ctx context.Context, dir string, out, progress io.Writer) error {
	err := verifyOne(ctx, dir, out, progress)
	letters := filepath.Join(dir, "deadletters")
	if err != nil && !errors.Is(err, errDamaged) || !isDir(letters) {
		return err
	}
	fmt.Fprintln(out, "\ndead letters:")
	return errors.Join(err, verifyOne(ctx, letters, out, progress))
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func verifyOne(ctx context.Context, dir string, out, progress io.Writer) error {
	last := time.Now()
	r, err := journal.Verify(ctx, dir, func(read, all int64) {
		if time.Since(last) >= every {
			last = time.Now()
			fmt.Fprintf(progress, "%d of %d bytes\n", read, all)
		}
	})
	if err != nil {
		return err
	}
	summary(out, r)
	fmt.Fprintf(out, "whole: %s\n", count(r.Records, "record"))
	damaged(out, r)
	if err := cursors(out, r); err != nil {
		return err
	}
	if !r.OK() {
		return errDamaged
	}
	return nil
}

func damaged(out io.Writer, r *journal.Report) {
	for _, s := range r.Damaged {
		fmt.Fprintf(out, "damaged: %s, at %s\n", count(s.Len(), "record"), s)
	}
}

// line is what cat prints.
type line struct {
	Position uint64               `json:"position"`
	Time     time.Time            `json:"time"`
	Event    *notifications.Event `json:"event"`
}

func cat(ctx context.Context, dir string, after uint64, out, problems io.Writer) error {
	w := bufio.NewWriter(out)
	to := json.NewEncoder(w)
	r, err := journal.Cat(ctx, dir, func(r notifications.Record) error {
		if r.Position <= after {
			return nil
		}
		return to.Encode(line{r.Position, r.Time.UTC(), r.Event})
	})
	if err = errors.Join(err, w.Flush()); err != nil {
		return err
	}
	damaged(problems, r)
	if len(r.Damaged) > 0 {
		return errDamaged
	}
	return nil
}
