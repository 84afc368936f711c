// Distribution is a stock distribution v3 server with one more import, which is all that
// it takes: its YAML does the rest (see config.yml).
//
//	distribution serve config.yml
//
// is the server itself, with all its commands. Beside that configuration
// "go run ./examples/webhook" prints what comes.
//
// Without arguments it demonstrates that: it runs itself with config.yml, has a real
// client, crane, push and pull, and prints what a webhook gets. The webhook then refuses
// everything, the server ends, and a second one delivers what the first has left in its
// journal.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/auth/token"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"

	_ "github.com/registry-notifications/notifications/middleware"
)

func main() {
	if len(os.Args) > 1 {
		if err := registry.RootCmd.Execute(); err != nil {
			os.Exit(1) // what was wrong is printed by then
		}
		return
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := demonstrate(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "distribution:", err)
		os.Exit(1)
	}
}
