package receiver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/registry-notifications/notifications"
)

// decode makes events of a body. An event has the bytes it came in, white space included,
// and fields that nobody knows. What is no event for Event.UnmarshalJSON is refused, and all
// of the body with it: a journal could not read it back, and a sender that halves what is
// refused finds it.
//
// It goes through the body once to find where each event ends, which takes far less than
// decoding them. A part that is not JSON may seem to end anywhere, and is found out by
// whoever decodes it.
func decode(body []byte) (events []*notifications.Event, bad *answer) {
	s := scanner{b: body}
	events, err := s.envelope()
	switch {
	case errors.Is(err, errTooMany):
		return nil, tooLarge(err.Error())
	case err != nil:
		return nil, refused(http.StatusBadRequest, err.Error())
	}
	return events, nil
}

var (
	errTooMany     = fmt.Errorf("there are too many events in the envelope: allowed are %d", notifications.MaxEnvelopeEvents)
	errNotJSON     = errors.New("the body is not JSON, or not all of it")
	errNotEnvelope = errors.New(`the body is not an object with a list of events: {"events":[…]}`)
	errTwoLists    = errors.New("the body has more than one list of events")
	errBehind      = errors.New("there is something behind the end of the envelope")
)

// scanner goes through an envelope.
type scanner struct {
	b  []byte
	at int
}

func (s *scanner) envelope() (events []*notifications.Event, err error) {
	if !s.next('{') {
		return nil, errNotEnvelope
	}
	found := false
	for first := true; !s.next('}'); first = false {
		if !first && !s.next(',') {
			return nil, errNotJSON
		}
		name, ok := s.name()
		switch {
		case !ok:
			return nil, errNotJSON
		case name != "events":
			if !json.Valid(s.value()) {
				return nil, errNotJSON
			}
		case found:
			return nil, errTwoLists // one of them would be lost
		default:
			if events, err = s.list(); err != nil {
				return nil, err
			}
			found = true
		}
	}
	switch {
	case s.peek() != 0 || s.at < len(s.b):
		return nil, errBehind
	case !found:
		return nil, errNotEnvelope
	}
	return events, nil
}

func (s *scanner) list() (events []*notifications.Event, err error) {
	if !s.next('[') {
		return nil, errNotEnvelope
	}
	for !s.next(']') {
		if len(events) > 0 && !s.next(',') {
			return nil, errNotJSON
		}
		n := len(events) + 1
		if n > notifications.MaxEnvelopeEvents {
			return nil, errTooMany
		}
		switch s.peek() {
		case '{':
		case 0, ',', ']', '}':
			return nil, errNotJSON
		default:
			return nil, fmt.Errorf("event %d is not an object", n)
		}
		e := new(notifications.Event)
		if err := e.UnmarshalJSON(s.value()); err != nil {
			return nil, fmt.Errorf("event %d %s", n, reason(err))
		}
		events = append(events, e)
	}
	return events, nil
}

// reason says what is wrong with an event, and not what is in it: the answer may end up in
// the log of the sender.
func reason(err error) string {
	var (
		syntax    *json.SyntaxError
		wrongType *json.UnmarshalTypeError
		wrongTime *time.ParseError
	)
	switch {
	case errors.As(err, &syntax):
		return "is not JSON"
	case errors.As(err, &wrongType) && wrongType.Field != "":
		return fmt.Sprintf("has a value of another type than it should have: %.100q", wrongType.Field)
	case errors.As(err, &wrongTime):
		return "has a timestamp that is none of RFC 3339"
	}
	return "has a value that cannot be read"
}

// name reads the name of a member, and the colon behind it.
func (s *scanner) name() (name string, ok bool) {
	if s.peek() != '"' {
		return "", false
	}
	quoted := s.value()
	if !s.next(':') {
		return "", false
	}
	if string(quoted) == `"events"` {
		return "events", true
	}
	return name, json.Unmarshal(quoted, &name) == nil
}

// peek returns the next byte that is not white space, or zero at the end.
func (s *scanner) peek() byte {
	for ; s.at < len(s.b); s.at++ {
		switch c := s.b[s.at]; c {
		case ' ', '\n', '\r', '\t':
		default:
			return c
		}
	}
	return 0
}

// next reads a byte if it comes next.
func (s *scanner) next(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

// value reads what would be the next value if it is JSON.
func (s *scanner) value() []byte {
	s.peek()
	start := s.at
	for depth := 0; s.at < len(s.b); {
		switch s.b[s.at] {
		case '"':
			s.string()
			if depth == 0 {
				return s.b[start:s.at]
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return s.b[start:s.at] // the end of what is around a number
			}
			if depth--; depth == 0 {
				s.at++
				return s.b[start:s.at]
			}
		case ',':
			if depth == 0 {
				return s.b[start:s.at]
			}
		}
		s.at++
	}
	return s.b[start:]
}

// string reads a string. Nearly all of a body is in strings, so it looks only for their
// ends.
func (s *scanner) string() {
	s.at++
	for from := s.at; ; {
		n := bytes.IndexByte(s.b[s.at:], '"')
		if n < 0 {
			s.at = len(s.b)
			return
		}
		s.at += n + 1
		if !isEscaped(s.b[from : s.at-1]) {
			return
		}
		from = s.at
	}
}

// isEscaped says whether what is behind text is escaped: by an odd number of backslashes.
func isEscaped(text []byte) bool {
	n := 0
	for n < len(text) && text[len(text)-1-n] == '\\' {
		n++
	}
	return n%2 == 1
}
