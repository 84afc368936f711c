package main

import (
	"context"
	"net"
)

// serveRegistry runs a registry until ctx ends.
func serveRegistry(ctx context.Context, out *printer, addr string, h hub) (err error) {
	r, err := startRegistry(addr, h)
	if err != nil {
		return err
	}
	defer ends(&err, r.close)

	host := r.host
	if ip, port, err := net.SplitHostPort(host); err == nil && net.ParseIP(ip).IsUnspecified() {
		host = net.JoinHostPort("127.0.0.1", port) // what clients on this machine can dial
	}
	out.print(
		"A registry at "+host+" prints its events here. Ctrl-C ends it.",
		"",
		"  docker tag IMAGE "+host+"/library/app && docker push "+host+"/library/app",
		"  skopeo copy --dest-tls-verify=false dir:PATH docker://"+host+"/library/app",
		"  crane push --insecure IMAGE.tar "+host+"/library/app",
		"  oras push --plain-http "+host+"/library/notes:v1 NOTES.txt",
		"",
	)
	<-ctx.Done()

	out.print("", "The registry ends.")
	return nil
}
