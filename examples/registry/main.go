// Registry runs a real registry whose events go to two webhooks, of which one is
// not ready at first, and a real client that pushes, pulls, mounts and deletes. It
// prints what arrives, and ends without an error only if all of it did.
//
// With -journal DIR the events are kept on disk until they are delivered. Kill the
// program in the middle, as hard as you like, and start it again: what the first run
// has left comes first.
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

func run(ctx context.Context, stdout io.Writer, args []string) (err error) {
	flags := flag.NewFlagSet("registry", flag.ContinueOnError)
	dir := flags.String("journal", "", "keep the events in a journal in this `directory`, and not in memory")
	serve := flags.Bool("serve", false, "keep the registry running for a client of your own")
	addr := flags.String("addr", "127.0.0.1:5000", "where to listen with -serve")
	refuse := flags.Duration("refuse", 2*time.Second, "how long the recovering webhook refuses at first")
	verbose := flags.Bool("v", false, "print what comes to both webhooks, with the IDs")
	if err := flags.Parse(args); err != nil {
		return err
	}
	// A stock server has much to say, and the events are what is to be seen.
	logrus.SetOutput(io.Discard)
	defer logrus.SetOutput(os.Stderr)

	out := &printer{to: stdout}
	healthy, err := startWebhook("healthy", 0, out.arrivals("healthy", true, *verbose))
	if err != nil {
		return err
	}
	defer ends(&err, healthy.close)
	recovering, err := startWebhook("recovering", *refuse, out.arrivals("recovering", false, *verbose))
	if err != nil {
		return err
	}
	defer ends(&err, recovering.close)

	hub, err := openHub(*dir)
	if err != nil {
		return err
	}
	defer ends(&err, hub.Close)
	err = out.printFirst(func() (lines []string, err error) {
		for _, w := range []*webhook{healthy, recovering} {
			if w.left, err = deliver(hub, w); err != nil {
				return nil, err
			}
		}
		if *dir == "" {
			return nil, nil
		}
		return []string{fmt.Sprintf("Left by an earlier run: %d for healthy, %d for recovering.", healthy.left, recovering.left), ""}, nil
	})
	if err != nil {
		return err
	}
	if *serve {
		return serveRegistry(ctx, out, *addr, hub)
	}
	return demonstrate(ctx, out, hub, healthy, recovering)
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

// printFirst calls f and prints what it returns, before anything that f has others
// print.
func (p *printer) printFirst(f func() ([]string, error)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines, err := f()
	for _, l := range lines {
		fmt.Fprintln(p.to, l)
	}
	return err
}

// arrivals returns what prints the events that come to a webhook.
func (p *printer) arrivals(webhook string, show, verbose bool) func(*notifications.Event) {
	return func(e *notifications.Event) {
		switch {
		case verbose:
			p.print(fmt.Sprintf("  %s  %-10s%s", e.ID, webhook, line(e)))
		case show:
			p.print(line(e))
		}
	}
}

func (p *printer) table(title string, rows [][]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.to, "\n%s\n", title)
	printTable(p.to, rows)
}
