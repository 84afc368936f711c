// Cluster is a registry of three instances whose events go through one stream, on a NATS
// JetStream cluster of three servers, and two workers that take them to one webhook.
//
//	clients ─► registry-1 ─┐                        ┌─► worker-1 ─┐
//	clients ─► registry-2 ─┼─► stream on n0 n1 n2 ──┤             ├─► webhook
//	clients ─► registry-3 ─┘    three replicas      └─► worker-2 ─┘
//
// What a program of your own would have of it is in hub.go, registry.go and worker.go. All of
// it runs in one process, on loopback and in a directory that is deleted.
//
// While clients push and pull, it kills the server that leads the stream, takes the network from
// a registry, kills a worker that has delivered and not yet said so, and a registry. It ends
// without an error only if everything came to the webhook, each repository's events in order,
// and nothing twice but what was in flight at a kill. With -v it prints what the library logs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Stdout, os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, stdout io.Writer, args []string) (err error) {
	flags := flag.NewFlagSet("cluster", flag.ContinueOnError)
	verbose := flags.Bool("v", false, "print what the library logs")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("argument %q: allowed is none", flags.Arg(0))
	}

	out := newPrinter(stdout)
	log := logrus.New()
	log.SetOutput(io.Discard)
	if *verbose {
		log.SetOutput(out)
	}
	// A stock server says of each request that it was one.
	logrus.SetOutput(io.Discard)
	defer logrus.SetOutput(os.Stderr)

	dir, err := os.MkdirTemp("", "cluster-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := &demonstration{printer: out, dir: dir, log: logrus.NewEntry(log)}
	defer ends(&err, d.close)
	if err := d.run(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	return context.Cause(ctx) // or what has not come to an end, would be the reason
}

// ends closes something at the end of a function, which may be late, but must be
// possible.
func ends(err *error, closeIt func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	*err = errors.Join(*err, closeIt(ctx))
}
