// Registry runs a real registry whose events go to two webhooks, of which one is
// not ready at first, and a real client that pushes, pulls, mounts and deletes. It
// prints what arrives, and ends without an error only if all of it did.
//
// With -serve it runs the registry for a client of your own.
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
	"time"

	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Stdout, os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

// refuses is how long the recovering webhook does.
const refuses = 2 * time.Second

func run(ctx context.Context, stdout io.Writer, args []string) (err error) {
	flags := flag.NewFlagSet("registry", flag.ContinueOnError)
	serve := flags.Bool("serve", false, "keep the registry running for a client of your own")
	addr := flags.String("addr", "127.0.0.1:5000", "where to listen with -serve")
	if err := flags.Parse(args); err != nil {
		return err
	}
	// A stock server has much to say, and the events are what is to be seen.
	logrus.SetOutput(io.Discard)
	defer logrus.SetOutput(os.Stderr)

	out := &printer{to: stdout}
	healthy, err := startWebhook("healthy", 0, func(e *notifications.Event) { out.print(line(e)) })
	if err != nil {
		return err
	}
	defer ends(&err, healthy.close)
	recovering, err := startWebhook("recovering", refuses, func(*notifications.Event) {})
	if err != nil {
		return err
	}
	defer ends(&err, recovering.close)

	if *serve {
		return serveRegistry(ctx, out, *addr, healthy, recovering)
	}
	return demonstrate(ctx, out, healthy, recovering)
}

// ends closes something at the end of a function, which may be late, but must be
// possible.
func ends(err *error, closeIt func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	*err = errors.Join(*err, closeIt(ctx))
}

// printer prints for several goroutines.
type printer struct {
	mu sync.Mutex // guards to
	to io.Writer
}

func (p *printer) print(lines ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range lines {
		fmt.Fprintln(p.to, l)
	}
}

func (p *printer) table(title string, rows [][]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.to, "\n%s\n", title)
	printTable(p.to, rows)
}
