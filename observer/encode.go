package observer

import (
	"encoding/json"
	"strconv"
)

// appendJSON appends the state as encoding/json would write it, but for the order in its
// maps. At the end of a load all that it has brought is written at once, and people wait for
// that.
func (s *State) appendJSON(b []byte) []byte {
	b = appendMember(append(b, '{'), "feed", s.Feed)
	b = appendMember(b, "name", s.Name)
	if len(s.Tags) > 0 {
		b = append(b, `"tags":{`...)
		for tag, dgst := range s.Tags {
			b = appendMember(b, tag, string(dgst))
		}
		b = appendEnd(b)
	}
	if len(s.Manifests) > 0 {
		b = append(b, `"manifests":{`...)
		for dgst, m := range s.Manifests {
			b = append(appendString(b, string(dgst)), ":{"...)
			if m.MediaType != "" {
				b = appendMember(b, "mediaType", m.MediaType)
			}
			if m.Size != 0 {
				b = append(strconv.AppendInt(append(b, `"size":`...), m.Size, 10), ',')
			}
			b = appendEnd(b)
		}
		b = appendEnd(b)
	}
	b = appendFlag(b, "deleted", s.Deleted)
	b = appendFlag(b, "frozen", s.Frozen)
	b = s.Last.appendJSON(append(b, `"last":`...))
	b = append(strconv.AppendUint(append(b, `"position":`...), s.Position, 10), ',')
	if s.Error != "" {
		b = appendMember(b, "error", s.Error)
	}
	b = appendFlag(b, "initialized", s.Initialized)
	if s.Told != "" {
		b = appendMember(b, "told", string(s.Told))
	}
	b = appendFlag(b, "untold", s.Untold)
	b[len(b)-1] = '}'
	return b
}

func (l *Last) appendJSON(b []byte) []byte {
	b = append(b, '{')
	if l.ID != "" {
		b = appendMember(b, "id", l.ID)
	}
	if l.Action != "" {
		b = appendMember(b, "action", l.Action)
	}
	if !l.Time.IsZero() {
		if with, err := l.Time.AppendText(append(b, `"time":"`...)); err == nil { // or RFC 3339 does not have that year
			b = append(with, `",`...)
		}
	}
	return appendEnd(b)
}

// Each of these appends a comma behind what it appends, which appendEnd takes away again.

func appendMember(b []byte, name, value string) []byte {
	b = append(appendString(b, name), ':')
	return append(appendString(b, value), ',')
}

func appendFlag(b []byte, name string, value bool) []byte {
	if !value {
		return b
	}
	return append(append(appendString(b, name), ":true"...), ',')
}

func appendEnd(b []byte) []byte {
	if b[len(b)-1] == ',' {
		b = b[:len(b)-1]
	}
	return append(b, "},"...)
}

// appendString appends a string. Few have anything in them that JSON writes in another way.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			text, _ := json.Marshal(s) // of a string there is no error
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// room is about how many bytes the state takes.
func (s *State) room() int { return 400 + 100*len(s.Tags) + 180*len(s.Manifests) }
