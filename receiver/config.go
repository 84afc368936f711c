package receiver

import (
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/signature"
)

// What a Config means where it says nothing.
const (
	DefaultMaxBytes    = 8 << 20
	DefaultMaxInFlight = 64
	DefaultTimeout     = 10 * time.Second
	DefaultWindow      = 1 << 16
)

// Config is the configuration of a Receiver. The zero value has the defaults.
type Config struct {
	// Keys are the one to eight keys of which any may have signed a request by the
	// Standard Webhooks scheme: see package signature, and LoadKey there. None means that
	// no signature is looked at.
	Keys []signature.Key

	// Tolerance is how far the time of a signature may be from now. Zero means 5m.
	Tolerance time.Duration

	// Authorization has the values of the Authorization header that do instead of a
	// signature, whole, as "Bearer token": distribution's registry and GitLab's send one
	// that is configured, and cannot sign. Several, so that a new one can be given out
	// before the old one goes.
	//
	// Without Keys and Authorization everybody may send, and New logs a warning.
	Authorization []string `json:"-" yaml:"-"`

	// MaxBytes is how large a body may be. Zero means 8 MiB: an Endpoint sends up to 1 MiB,
	// unless one event alone is larger.
	MaxBytes int64

	// MaxInFlight is how many requests may be in progress at once. With MaxBytes it bounds
	// the memory: a request has its body, as far as it has come, and when that is verified
	// its events, of which each has a copy of its bytes and its strings. Zero means 64. Those
	// that only a signature can let in get three quarters of it. Whoever reaches the receiver
	// can hold these for as long as Timeout: limit connections for each address in front.
	MaxInFlight int

	// Timeout is how long one request may take, from its header to the sink's answer. Zero
	// means 10s, which is less than the 15s that an Endpoint waits: it hears why.
	//
	// It replaces http.Server's ReadTimeout for the body.
	Timeout time.Duration

	// Window is how many event IDs are remembered, so that an event that comes again is
	// not written again. Each takes about 50 bytes. Zero means 65,536, and -1 none.
	Window int

	// History says what the sink took before this process: New reads it into the window, for
	// as long as that takes, so that what comes again after a crash is recognised, too. Nil means the sink, if it
	// is a Feed, as a journal is. (It keeps what all of its sinks have settled only as long
	// as its Config.Retain says.)
	History notifications.Feed `json:"-" yaml:"-"`

	// Logger gets what nobody can be told otherwise. Nil means logrus's standard logger.
	Logger *logrus.Entry `json:"-" yaml:"-"`
}

// setDefaults also checks. The keys are checked by the Verifier that they are for.
func (c *Config) setDefaults() error {
	switch {
	case c.Tolerance < 0:
		return wrong("tolerance", "%v: allowed are zero, for the default, and above", c.Tolerance)
	case c.Tolerance > 0 && len(c.Keys) == 0:
		return wrong("tolerance", "%v: is for signatures: allowed with keys only", c.Tolerance)
	case c.MaxBytes < 0:
		return wrong("maxbytes", "%d: allowed are zero, for the default, and above", c.MaxBytes)
	case c.MaxInFlight < 0:
		return wrong("maxinflight", "%d: allowed are zero, for the default, and above", c.MaxInFlight)
	case c.Timeout < 0:
		return wrong("timeout", "%v: allowed are zero, for the default, and above", c.Timeout)
	case c.Window < -1:
		return wrong("window", "%d: allowed are -1, for none, zero, for the default, and above", c.Window)
	}
	for i, value := range c.Authorization {
		if !isHeaderValue(value) {
			// The value is a secret, however wrong it is.
			return wrong(fmt.Sprintf("authorization[%d]", i), "[redacted]: allowed is visible text in ASCII, without space around it")
		}
	}
	orDefault(&c.MaxBytes, DefaultMaxBytes)
	orDefault(&c.MaxInFlight, DefaultMaxInFlight)
	orDefault(&c.Timeout, DefaultTimeout)
	orDefault(&c.Window, DefaultWindow)
	if c.Logger == nil {
		c.Logger = logrus.NewEntry(logrus.StandardLogger())
	}
	return nil
}

func orDefault[T comparable](field *T, value T) {
	if *field == *new(T) {
		*field = value
	}
}

func wrong(field, format string, args ...any) error {
	return fmt.Errorf("receiver: %w", &notifications.ConfigError{Field: field, Err: fmt.Errorf(format, args...)})
}

// isHeaderValue says whether a header can have this value when it arrives (RFC 9110, 5.5).
// One that cannot would lock its sender out, and nobody would see why.
func isHeaderValue(value string) bool {
	for _, c := range []byte(value) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return value != "" && value[0] != ' ' && value[len(value)-1] != ' '
}

type plainConfig Config

// Format prints the configuration without its secrets, whatever the verb. (In an
// unexported field of another struct, fmt looks past that: keep it there by pointer.)
func (c Config) Format(f fmt.State, verb rune) {
	shown := plainConfig(c)
	shown.Authorization = make([]string, len(c.Authorization))
	for i := range shown.Authorization {
		shown.Authorization[i] = "[redacted]"
	}
	shown.History, shown.Logger = nil, nil
	fmt.Fprintf(f, fmt.FormatString(f, verb), shown)
}
