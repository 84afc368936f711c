package observer

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// FeedError ends a Watch: a feed has come to its end, or what comes next in it is gone (a
// *notifications.PositionError).
type FeedError struct {
	Feed string
	Err  error
}

func (e *FeedError) Error() string { return fmt.Sprintf("observer: feed %q: %v", e.Feed, e.Err) }
func (e *FeedError) Unwrap() error { return e.Err }

// errGoexit is of a call that has not returned.
var errGoexit = errors.New("it has ended its goroutine (runtime.Goexit)")

// maxMessage is how long a stored error may be, in characters.
const maxMessage = 120

// cut cuts a message at the edge of a character. What is not UTF-8 in it is replaced.
func cut(message string) string {
	b := make([]rune, 0, maxMessage)
	for _, c := range message { // gives utf8.RuneError for what is none
		if len(b) == maxMessage {
			break
		}
		b = append(b, c)
	}
	if len(b) == 0 {
		return string(utf8.RuneError) // an error without a message is one
	}
	return string(b)
}
