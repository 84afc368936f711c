// Package invitation tells somebody who runs an example what to do to its registry.
package invitation

import "net"

// Lines returns what an example prints of its registry, which listens at host.
func Lines(host string) []string {
	if ip, port, err := net.SplitHostPort(host); err == nil && net.ParseIP(ip).IsUnspecified() {
		host = net.JoinHostPort("127.0.0.1", port) // what clients on this machine can dial
	}
	return []string{
		"A registry at " + host + " prints its events here. Ctrl-C ends it.",
		"",
		"  docker tag IMAGE " + host + "/library/app && docker push " + host + "/library/app",
		"  skopeo copy --dest-tls-verify=false dir:PATH docker://" + host + "/library/app",
		"  crane push --insecure IMAGE.tar " + host + "/library/app",
		"  oras push --plain-http " + host + "/library/notes:v1 NOTES.txt",
		"",
	}
}
