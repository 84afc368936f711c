package readme

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Of a stock application this one outlives Shutdown.
		goleak.IgnoreAnyFunction("github.com/docker/go-events.(*Broadcaster).run"),
	)
}
