package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
)

// eventID says where an event comes from.
type eventID struct {
	life, writer, block int
	index, of           int // in its block
}

func (id eventID) String() string {
	return fmt.Sprintf("%d-%d-%d-%d-%d", id.life, id.writer, id.block, id.index, id.of)
}

func parseEventID(t *testing.T, s string) (id eventID) {
	numbers := make([]int, 5)
	for i, part := range strings.Split(s, "-") {
		n, err := strconv.Atoi(part)
		require.NoError(t, err)
		numbers[i] = n
	}
	return eventID{numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]}
}

// lifeHeader says on each request which life of the process has sent it.
const lifeHeader = "Life"

// lifeArgs are what a life of the process is told.
type lifeArgs struct {
	Dir          string
	Number       int
	Sync         Sync
	SegmentBytes int64
	Retain       time.Duration
	Seed         uint64
	URLs         map[string]string // of the receivers
	Last         bool              // it writes nothing, and ends when all is delivered
}

// live is the process that is killed.
func live(args json.RawMessage) error {
	var l lifeArgs
	if err := json.Unmarshal(args, &l); err != nil {
		return err
	}
	fmt.Println("opening")
	config := quick()
	config.Sync, config.SegmentBytes, config.Retain = l.Sync, l.SegmentBytes, l.Retain
	config.SyncInterval = 5 * time.Millisecond
	j, err := Open(l.Dir, config)
	if err != nil {
		return err
	}
	for name, url := range l.URLs {
		config := notifications.EndpointConfig{
			Headers: http.Header{lifeHeader: {strconv.Itoa(l.Number)}},
			Backoff: time.Millisecond, MaxBackoff: 2 * time.Millisecond, Logger: silent(),
		}
		if name == wide {
			config.MaxInFlight, config.MaxEvents = wideInFlight, wideEvents
		}
		endpoint, err := notifications.NewEndpoint(name, url, config)
		if err != nil {
			return err
		}
		if err := j.Add(name, endpoint); err != nil {
			return err
		}
	}
	fmt.Println("open", j.Stat().TornBytes)
	if l.Last {
		return l.drain(j)
	}
	failed := make(chan error)
	for w := range killWriters {
		go func() { failed <- l.write(j, w) }()
	}
	return <-failed
}

const killWriters = 4

// write writes blocks without end, and says so of each when its Write has returned.
func (l *lifeArgs) write(j *Journal, writer int) error {
	random := rand.New(rand.NewPCG(l.Seed, uint64(writer)))
	for block := 0; ; block++ {
		of := 1
		switch n := random.IntN(200); {
		case n == 0:
			of = 1 + random.IntN(300) // more than a small segment holds
		case n < 30:
			of = 1 + random.IntN(8)
		}
		events := make([]*notifications.Event, of)
		for i := range events {
			e := notifications.NewEvent(notifications.ActionPush)
			e.ID = eventID{l.Number, writer, block, i, of}.String()
			e.Target = notifications.Target{
				Type: notifications.TypeManifest, MediaType: "application/vnd.oci.image.manifest.v1+json",
				Digest: digest.FromString(e.ID), Size: 1234,
				Repository: "r" + strconv.Itoa((writer+block+i)%8), Tag: strings.Repeat("v", random.IntN(128)),
			}
			events[i] = e
		}
		if err := j.Write(context.Background(), events...); err != nil {
			return err
		}
		// One system call: what it has returned from, the test gets.
		if _, err := fmt.Fprintf(os.Stdout, "%d %d %d\n", writer, block, of); err != nil {
			return err
		}
		if block%4 == 3 {
			time.Sleep(time.Millisecond) // or most of the time goes into what is the same each time
		}
	}
}

func (l *lifeArgs) drain(j *Journal) error {
	for deadline := time.Now().Add(hung); ; time.Sleep(time.Millisecond) {
		var pending uint64
		for _, m := range j.Metrics() {
			pending += m.Pending
		}
		if pending == 0 {
			break
		}
		if time.Now().After(deadline) {
			return errors.New("is not drained")
		}
	}
	b, err := json.Marshal(j.Metrics())
	if err != nil {
		return err
	}
	fmt.Println(string(b))
	return j.Close(context.Background())
}
