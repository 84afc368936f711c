package notifications

import (
	"fmt"
	"net"
	"os"
	"time"
)

// NewSource returns the record of this registry node: the machine's host name with
// the port of listenAddr (such as ":5000"), and an instance ID that is new for each
// run.
func NewSource(listenAddr string) (SourceRecord, error) {
	_, port, err := net.SplitHostPort(listenAddr)
	if err != nil || port == "" {
		return SourceRecord{}, fmt.Errorf("notifications: source: %w", wrong("addr", "%q: allowed is host:port or :port", listenAddr))
	}
	host, err := os.Hostname()
	if err != nil {
		return SourceRecord{}, fmt.Errorf("notifications: source: %w", err)
	}
	return SourceRecord{Addr: net.JoinHostPort(host, port), InstanceID: newID(time.Now())}, nil
}
