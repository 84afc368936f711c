package notifications

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/distribution/distribution/v3"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// appendEvent appends the event's JSON, byte for byte what encoding/json makes of
// an eventJSON. Each event that a registry reports is encoded once, on the path of
// the client's request, and reflection would be most of what that costs.
//
// The error is that of a timestamp that RFC 3339 cannot say; dst is then returned
// as it was.
func appendEvent(dst []byte, e *Event) ([]byte, error) {
	b := append(dst, '{')
	b = appendMember(b, `"id":"`, e.ID)
	b, err := appendTime(append(b, `"timestamp":"`...), e.Timestamp)
	if err != nil {
		return dst, fmt.Errorf("timestamp: %w", err)
	}
	b = append(b, `",`...)
	b = appendMember(b, `"action":"`, e.Action)
	b = appendTarget(append(b, `"target":{`...), &e.Target)
	b = appendRequest(append(b, `"request":{`...), &e.Request)
	b = appendMember(append(b, `"actor":{`...), `"name":"`, e.Actor.Name)
	b = appendEnd(b, '}')
	b = appendMember(append(b, `"source":{`...), `"addr":"`, e.Source.Addr)
	b = appendMember(b, `"instanceID":"`, e.Source.InstanceID)
	b = appendEnd(b, '}')
	b[len(b)-1] = '}'
	return b, nil
}

// appendTime appends t as RFC 3339 has it, with as many digits of the second as it
// takes. Nearly every time is UTC and in a year of four digits; the others are left to
// package time.
func appendTime(b []byte, t time.Time) ([]byte, error) {
	const layout = "2006-01-02T15:04:05.000000000"
	year, month, day := t.Date()
	if t.Location() != time.UTC || year < 1000 || year > 9999 {
		return t.AppendText(b)
	}
	hour, minute, second := t.Clock()
	text := [len(layout)]byte([]byte(layout))
	putTwo(text[0:], year/100)
	putTwo(text[2:], year%100)
	putTwo(text[5:], int(month))
	putTwo(text[8:], day)
	putTwo(text[11:], hour)
	putTwo(text[14:], minute)
	putTwo(text[17:], second)
	end := len("2006-01-02T15:04:05")
	if nano := t.Nanosecond(); nano > 0 {
		text[20] = byte('0' + nano/100_000_000)
		putTwo(text[21:], nano/1_000_000%100)
		putTwo(text[23:], nano/10_000%100)
		putTwo(text[25:], nano/100%100)
		putTwo(text[27:], nano%100)
		for end = len(text); text[end-1] == '0'; end-- {
		}
	}
	return append(append(b, text[:end]...), 'Z'), nil
}

// putTwo writes n as two digits.
func putTwo(b []byte, n int) { b[0], b[1] = byte('0'+n/10), byte('0'+n%10) }

// Everything below appends a comma behind what it is named for, and the end of an
// object or list takes the last one away again.

func appendTarget(b []byte, t *Target) []byte {
	b = appendMember(b, `"type":"`, t.Type)
	b = appendMember(b, `"mediaType":"`, t.MediaType)
	b = appendMember(b, `"digest":"`, string(t.Digest))
	if t.Size != 0 {
		b = appendInt(append(b, `"size":`...), t.Size)
		b = appendInt(append(b, `"length":`...), t.Size)
	}
	if t.TotalSize != 0 {
		b = appendInt(append(b, `"totalSize":`...), t.TotalSize)
	}
	b = appendMember(b, `"repository":"`, t.Repository)
	b = appendMember(b, `"fromRepository":"`, t.FromRepository)
	b = appendMember(b, `"url":"`, t.URL)
	b = appendMember(b, `"tag":"`, t.Tag)
	if len(t.References) > 0 {
		b = appendReferences(append(b, `"references":[`...), t.References)
	}
	if len(t.Annotations) > 0 {
		b = appendAnnotations(b, t.Annotations)
	}
	b = appendMember(b, `"artifactType":"`, t.ArtifactType)
	if t.Platform != nil {
		b = appendPlatform(b, t.Platform)
	}
	if len(t.URLs) > 0 {
		b = appendList(append(b, `"urls":[`...), t.URLs)
	}
	if len(t.Data) > 0 {
		b = appendData(b, t.Data)
	}
	return appendEnd(b, '}')
}

func appendRequest(b []byte, r *RequestRecord) []byte {
	b = appendString(append(b, `"id":"`...), r.ID)
	b = appendMember(b, `"addr":"`, r.Addr)
	b = appendMember(b, `"host":"`, r.Host)
	b = appendString(append(b, `"method":"`...), r.Method)
	b = appendString(append(b, `"useragent":"`...), r.UserAgent)
	return appendEnd(b, '}')
}

// appendReferences appends OCI descriptors. They have members of a Target in an
// order of their own, and three of them are never left out.
func appendReferences(b []byte, refs []distribution.Descriptor) []byte {
	for i := range refs {
		d := &refs[i]
		b = appendString(append(b, `{"mediaType":"`...), d.MediaType)
		b = appendString(append(b, `"digest":"`...), string(d.Digest))
		b = appendInt(append(b, `"size":`...), d.Size)
		if len(d.URLs) > 0 {
			b = appendList(append(b, `"urls":[`...), d.URLs)
		}
		if len(d.Annotations) > 0 {
			b = appendAnnotations(b, d.Annotations)
		}
		if len(d.Data) > 0 {
			b = appendData(b, d.Data)
		}
		if d.Platform != nil {
			b = appendPlatform(b, d.Platform)
		}
		b = appendMember(b, `"artifactType":"`, d.ArtifactType)
		b = appendEnd(b, '}')
	}
	return appendEnd(b, ']')
}

func appendPlatform(b []byte, p *v1.Platform) []byte {
	b = appendString(append(b, `"platform":{"architecture":"`...), p.Architecture)
	b = appendString(append(b, `"os":"`...), p.OS)
	b = appendMember(b, `"os.version":"`, p.OSVersion)
	if len(p.OSFeatures) > 0 {
		b = appendList(append(b, `"os.features":[`...), p.OSFeatures)
	}
	b = appendMember(b, `"variant":"`, p.Variant)
	return appendEnd(b, '}')
}

func appendAnnotations(b []byte, annotations map[string]string) []byte {
	b = append(b, `"annotations":{`...)
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		b = appendString(append(b, '"'), key)
		b[len(b)-1] = ':'
		b = appendString(append(b, '"'), annotations[key])
	}
	return appendEnd(b, '}')
}

func appendData(b, data []byte) []byte {
	b = base64.StdEncoding.AppendEncode(append(b, `"data":"`...), data)
	return append(b, `",`...)
}

func appendList(b []byte, list []string) []byte {
	for _, s := range list {
		b = appendString(append(b, '"'), s)
	}
	return appendEnd(b, ']')
}

// appendMember appends a string member of an object unless it is empty. The name
// has the colon and the opening quote with it.
func appendMember(b []byte, name, value string) []byte {
	if value != "" {
		b = appendString(append(b, name...), value)
	}
	return b
}

func appendInt(b []byte, n int64) []byte {
	return append(strconv.AppendInt(b, n, 10), ',')
}

// appendEnd closes an object or list that has been opened.
func appendEnd(b []byte, bracket byte) []byte {
	if last := len(b) - 1; b[last] == ',' {
		b = b[:last]
	}
	return append(b, bracket, ',')
}

// appendString appends s and the closing quote of a JSON string, with the escapes
// of encoding/json: what HTML and JavaScript would take for their own is escaped,
// what is not UTF-8 is replaced.
func appendString(b []byte, s string) []byte {
	if allPlain(s) {
		b = append(b, s...)
		return append(b, `",`...)
	}
	for s != "" {
		n := 0
		for n < len(s) && plain(s[n]) {
			n++
		}
		b, s = append(b, s[:n]...), s[n:]
		if s != "" {
			b, s = appendCharacter(b, s)
		}
	}
	return append(b, `",`...)
}

// appendCharacter appends the first character of s and returns what is behind it.
func appendCharacter(b []byte, s string) ([]byte, string) {
	const hex = "0123456789abcdef"
	r, size := utf8.DecodeRuneInString(s)
	switch {
	case r == '"' || r == '\\':
		b = append(b, '\\', byte(r))
	case r == '\b':
		b = append(b, `\b`...)
	case r == '\f':
		b = append(b, `\f`...)
	case r == '\n':
		b = append(b, `\n`...)
	case r == '\r':
		b = append(b, `\r`...)
	case r == '\t':
		b = append(b, `\t`...)
	case r < utf8.RuneSelf:
		b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&0xf])
	case r == utf8.RuneError && size == 1:
		b = append(b, `\ufffd`...)
	case r == '\u2028' || r == '\u2029':
		b = append(b, '\\', 'u', '2', '0', '2', hex[r&0xf])
	default:
		b = append(b, s[:size]...)
	}
	return b, s[size:]
}

// plain says whether a byte stands for itself in a JSON string, wherever it is.
func plain(c byte) bool {
	switch c {
	case '"', '\\', '<', '>', '&':
		return false
	}
	return ' ' <= c && c < utf8.RuneSelf
}

// allPlain says whether all of s is known to be plain. It looks at eight bytes at
// once, and at two times eight in one step, because almost every string of an event
// is plain and as long as a digest.
func allPlain(s string) bool {
	b := []byte(s)
	last := len(b) - 8
	if last < 0 {
		eight := uint64(' ' * ones)
		for _, c := range b {
			eight = eight<<8 | uint64(c)
		}
		return suspects(eight) == 0
	}
	found := suspects(binary.LittleEndian.Uint64(b[last:]))
	for i := 0; i < last; i += 16 {
		found |= suspects(binary.LittleEndian.Uint64(b[i:]))
		found |= suspects(binary.LittleEndian.Uint64(b[min(i+8, last):]))
	}
	return found == 0
}

// ones times a byte is eight of it.
const ones = 0x0101010101010101

// suspects is zero if each of eight bytes is plain and none of ^|~, which cost less
// to suspect than to tell from <>\. A byte has its top bit set afterwards if it had
// it before, if it was less than a space, or if one of the patterns made it zero; a
// borrow from the next byte can only come out of such a byte.
func suspects(eight uint64) uint64 {
	const angles, differ = '<' | '>' | '\\', ('<' ^ '>') | ('<' ^ '\\')
	quotes := (eight | ones*('"'^'&')) ^ ones*('"'|'&')
	others := (eight | ones*differ) ^ ones*angles
	return (eight | (eight - ones*' ') | (quotes - ones) | (others - ones)) & (ones * 0x80)
}
