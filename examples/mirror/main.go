// Mirror keeps a second registry in step with a first one: it copies what is pushed there,
// and deletes what is deleted.
//
//	source side (a process)                mirror side (a process)
//
//	registry ─► journal ─► Endpoint ─►     receiver ─► journal ─► observer ─► mirror
//	    ▲                                                                       │
//	    └───────────────────────── copies from ─────────────────────────────────┤
//	                                                                 target ◄───┘
//
// What a program of your own would have of it is in mirror.go, and around that in
// mirrorside.go and sourceside.go.
//
// The demonstration runs all of it, on loopback and in a directory that it deletes. A client
// pushes and deletes; meanwhile each side is killed (kill -9) at a random moment, and started
// again. In the end it compares the two registries, and ends without an error only if they
// have the same. With -kills 5 each side is killed so often.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/sirupsen/logrus"
)

func main() {
	// Ctrl-C comes to the sides, too, and is for the one who has started them.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch args := os.Args[1:]; {
	case len(args) > 0 && args[0] == sourceSide:
		err = runSourceSide(untilEOF(os.Stdin), args[1:])
	case len(args) > 0 && args[0] == mirrorSide:
		err = runMirrorSide(untilEOF(os.Stdin), os.Stdout, args[1:])
	default:
		err = run(ctx, os.Stdout, args)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "mirror:", err)
		os.Exit(1)
	}
}

// The first argument of a process that is one side.
const (
	sourceSide = "source"
	mirrorSide = "mirror"
)

// keySpec is where both sides have the key that signs the webhooks.
const (
	keyVariable = "MIRROR_KEY"
	keySpec     = "env:" + keyVariable
)

// untilEOF returns a context that ends when there is nothing more to read: when who has
// started this process has closed the other end, or is gone.
func untilEOF(r io.Reader) context.Context {
	logrus.SetLevel(logrus.WarnLevel) // a stock server says of each request that it was one
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, r)
		cancel()
	}()
	return ctx
}

func run(ctx context.Context, stdout io.Writer, args []string) error {
	flags := flag.NewFlagSet("mirror", flag.ContinueOnError)
	kills := flags.Int("kills", 1, "how often each side is killed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *kills < 0 || flags.NArg() > 0 {
		return errors.New("allowed are -kills and a number of zero and above")
	}
	return demonstrate(ctx, &printer{to: stdout, terminal: isTerminal(stdout)}, *kills)
}

// printer prints for several goroutines.
type printer struct {
	terminal bool

	mu sync.Mutex // guards to
	to io.Writer
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (p *printer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.to.Write(b)
}

func (p *printer) print(format string, args ...any) {
	fmt.Fprintf(p, format+"\n", args...)
}
