package main

import (
	"context"

	"github.com/registry-notifications/notifications/examples/internal/invitation"
)

// serveRegistry runs a registry until ctx ends.
func serveRegistry(ctx context.Context, out *printer, addr string, h hub) (err error) {
	r, err := startRegistry(addr, h)
	if err != nil {
		return err
	}
	defer ends(&err, r.close)

	out.print(invitation.Lines(r.host)...)
	<-ctx.Done()

	out.print("", "The registry ends.")
	return nil
}
