package jetstream

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// askTimeout is how long an answer may take that may need elections of its own.
const askTimeout = 5 * time.Second

// ask asks the servers something until they answer or ctx ends: while they elect a leader, or
// when one of them is killed with the question, nobody does.
func ask(ctx context.Context, question func(ctx context.Context) error) error {
	for n := 0; ; n++ {
		each, cancel := context.WithTimeout(ctx, askTimeout)
		err := question(each)
		cancel()
		if err == nil || ctx.Err() != nil || !isTemporary(err) {
			return err
		}
		sleep(ctx, delay(n))
	}
}

// isTemporary says whether nobody has answered, or nobody who could.
func isTemporary(err error) bool {
	if errors.Is(err, nats.ErrPermissionViolation) {
		return false
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders) ||
		errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrDisconnected) || errors.Is(err, nats.ErrReconnectBufExceeded) {
		return true
	}
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == codeUnavailable
}

// codeUnavailable is of a cluster without a leader.
const codeUnavailable = 10008
