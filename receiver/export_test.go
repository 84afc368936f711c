package receiver

import "github.com/registry-notifications/notifications"

// Decode is what a Receiver does with a body that is verified. The reason is why it would
// refuse it.
func Decode(body []byte) (events []*notifications.Event, reason string) {
	events, bad := decode(body)
	if bad != nil {
		return nil, bad.reason
	}
	return events, ""
}
