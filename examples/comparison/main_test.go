package comparison

import (
	"io"
	"log"
	"testing"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard) // a stock server has much to say
	log.SetOutput(io.Discard)    // go-containerregistry's, too
	goleak.VerifyTestMain(m,
		// Of a stock application these outlive Shutdown: nothing ever closes its
		// notifications.
		goleak.IgnoreAnyFunction("github.com/docker/go-events.(*Broadcaster).run"),
		goleak.IgnoreAnyFunction("github.com/distribution/distribution/v3/notifications.(*eventQueue).run"),
	)
}
