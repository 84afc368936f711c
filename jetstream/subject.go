package jetstream

import (
	"fmt"
	"hash/fnv"
	"net/url"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/registry-notifications/notifications"
)

// repositoryHeader says which repository an event is of: a name may have dots, and what else
// a subject takes for its own.
const repositoryHeader = "Repository"

// partitionOf returns in which partition all events of a repository are. It is FNV-1a, 32
// bits, of the name, modulo the partitions, for ever.
func partitionOf(repository string, partitions int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(repository))
	return int(h.Sum32() % uint32(partitions))
}

// message returns an event as the stream has it. Its data is at the end of what it is given, and
// both are returned.
func (c *Config) message(e *notifications.Event, data []byte) (*nats.Msg, []byte, error) {
	at := len(data)
	data, err := e.AppendJSON(data)
	if err != nil {
		return nil, data, err
	}
	m := &nats.Msg{
		Subject: c.subject(e),
		Header:  nats.Header{repositoryHeader: {headerValue(e.Target.Repository)}},
		Data:    data[at:len(data):len(data)],
	}
	if e.ID != "" {
		m.Header[jetstream.MsgIDHeader] = []string{headerValue(e.ID)}
	}
	return m, data, nil
}

// mostAction is how many characters of an action a subject has.
const mostAction = 64

func (c *Config) subject(e *notifications.Event) string {
	action := token(e.Action)
	action = action[:min(len(action), mostAction)]
	return c.Subject + "." + strconv.Itoa(partitionOf(e.Target.Repository, c.Partitions)) + "." + action
}

// partitionSubject is what a partition's messages are found by.
func (c *Config) partitionSubject(partition int) string {
	return fmt.Sprintf("%s.%d.>", c.Subject, partition)
}

// token returns a word as a piece of a subject, of ASCII alone.
func token(s string) string {
	if s == "" {
		return "_"
	}
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, s)
}

// headerValue returns a value that a header can have: what would end the line is escaped, and
// with it everything else that a URL escapes.
func headerValue(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) || strings.TrimSpace(s) != s {
		return url.PathEscape(s)
	}
	return s
}
