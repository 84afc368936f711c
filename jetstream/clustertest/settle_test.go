package clustertest

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	js "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// settle waits until everything was delivered, and the servers know.
func (c *chaos) settle(round int) {
	c.t.Helper()
	c.until(func() bool {
		made, firsts := c.ledger.count()
		for _, p := range c.publishers {
			if p.hub.Load().Stat().Spilled > 0 {
				return false
			}
		}
		return firsts >= made
	}, "round %d: everything is delivered", round)
	require.NoError(c.t, c.cluster.Wait())
	state := ""
	defer func() {
		if c.t.Failed() {
			c.t.Log(state)
		}
	}()
	c.until(func() (ok bool) { state, ok = c.settled(); return ok }, "round %d: everything is acknowledged", round)
	c.log.of("test").Debug("settled: ", state)
	c.follow()
}

// follow reads what the stream has.
func (c *chaos) follow() {
	c.t.Helper()
	c.until(func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		records, err := c.reader.Read(ctx, c.read, 0)
		if len(records) > 0 {
			c.ledger.stored(records)
			c.read = records[len(records)-1].Position
		}
		if err != nil || len(records) > 0 {
			return false
		}
		info, err := c.stream.Info(ctx) // a server that is behind may have answered
		return err == nil && c.read == info.State.LastSeq
	}, "the stream is read")
}

// settled says whether no consumer has anything to deliver, nor anything of which it does not
// know what became of it.
func (c *chaos) settled() (state string, ok bool) {
	infos, err := c.consumers()
	if err != nil {
		return err.Error(), false
	}
	ok = len(infos) == chaosPartitions
	for _, i := range infos {
		state += fmt.Sprintf("%s: %d pending, %d not acknowledged, delivered %v, floor %v\n", i.Name, i.NumPending, i.NumAckPending, i.Delivered, i.AckFloor)
		ok = ok && i.NumPending == 0 && i.NumAckPending == 0
		for _, r := range i.Cluster.Replicas {
			ok = ok && r.Current && !r.Offline && r.Lag == 0
		}
		state += fmt.Sprintf("\tthe server that is most behind: %d\n", c.fallback(i))
	}
	return state, ok
}

// floor is up to which position everything of a partition was delivered: as its consumer's
// leader knows, and as the server does that is most behind, which may lead it next. That one
// says that it is current, and can be behind for as long as nothing is delivered.
type floor struct{ known, fallback uint64 }

// floors returns those of all partitions.
func (c *chaos) floors() (map[string]floor, error) {
	infos, err := c.consumers()
	floors := make(map[string]floor)
	for _, i := range infos {
		floors[i.Config.FilterSubject] = floor{i.AckFloor.Stream, c.fallback(i)}
	}
	if err == nil && len(floors) != chaosPartitions {
		err = fmt.Errorf("%d consumers where %d are", len(floors), chaosPartitions)
	}
	return floors, err
}

func (c *chaos) fallback(consumer *js.ConsumerInfo) uint64 {
	least := consumer.AckFloor.Stream
	for n := range c.cluster.servers {
		least = min(least, c.cluster.ackFloor(n, c.config.Stream, consumer.Name))
	}
	return least
}

func (c *chaos) consumers() (infos []*js.ConsumerInfo, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	all := c.stream.ListConsumers(ctx)
	for i := range all.Info() {
		infos = append(infos, i)
	}
	return infos, all.Err()
}

// partition returns which subjects a repository's events have, as the documentation says it.
func (c *chaos) partition(repository string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(repository))
	return fmt.Sprintf("%s.%d.>", c.config.Stream, h.Sum32()%chaosPartitions)
}
