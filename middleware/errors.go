package middleware

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/registry-notifications/notifications"
)

// optionError is what is wrong with one option.
type optionError struct {
	path string
	err  error
}

func (e *optionError) Error() string { return e.path + ": " + e.err.Error() }
func (e *optionError) Unwrap() error { return e.err }

func wrong(path, format string, args ...any) error {
	return &optionError{path, fmt.Errorf(format, args...)}
}

// at says where in the YAML an error belongs that came up below path.
func at(path string, err error) error {
	if c := (*notifications.ConfigError)(nil); errors.As(err, &c) {
		if c.Field != "" {
			path += "." + c.Field
		}
		return &optionError{path, c.Err}
	}
	return &optionError{path, err}
}

// hide takes out of an error what came from the environment and from files: nobody
// knows which of it is secret, and a key that stands where the name of its file belongs
// would be in the log of every start.
func (d *document) hide(err error) error {
	e := (*optionError)(nil)
	if !errors.As(err, &e) {
		return err
	}
	// What is allowed is ours to say, and would suffer from a value of three digits.
	text, allowed := e.err.Error(), ""
	if i := strings.LastIndex(text, ": allowed "); i >= 0 {
		text, allowed = text[:i], text[i:]
	}
	if shown := d.replacer().Replace(text); shown != text {
		return &optionError{e.path, errors.New(shown + allowed)}
	}
	return err
}

// replacer finds the values as errors show them: as they are, quoted, and cut. Those of
// one or two characters stay: a text without any a is of no use.
func (d *document) replacer() *strings.Replacer {
	var shown []string
	for _, v := range d.elsewhere {
		for _, v := range []string{v, cut(v)} {
			quoted := strconv.Quote(v)
			shown = append(shown, v, quoted[1:len(quoted)-1])
		}
	}
	// The longest first, or a short one could take a piece out of a long one.
	slices.SortFunc(shown, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, v := range shown {
		if len(v) > 2 {
			pairs = append(pairs, v, "[redacted]")
		}
	}
	return strings.NewReplacer(pairs...)
}

// mostShown is how many characters of a value an error shows.
const mostShown = 100

func cut(v string) string { return fmt.Sprintf("%.*s", mostShown, v) }
