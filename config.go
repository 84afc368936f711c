package notifications

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications/internal/yamljson"
)

// ConfigError says which field of a configuration is wrong. Its text is the field, its
// value and what is allowed.
type ConfigError struct {
	// Field is the field's name in YAML and JSON, with a path if it is a nested one.
	// Empty: it is the whole.
	Field string
	Err   error
}

func (e *ConfigError) Error() string {
	if e.Field == "" {
		return e.Err.Error()
	}
	return e.Field + ": " + e.Err.Error()
}

func (e *ConfigError) Unwrap() error { return e.Err }

func wrong(field, format string, args ...any) error {
	return &ConfigError{Field: field, Err: fmt.Errorf(format, args...)}
}

// EndpointConfig is the configuration of a webhook endpoint, in the words of
// distribution's own. The zero value has the defaults.
//
// It decodes from YAML and JSON, over what is set already. A duration is text with a
// unit, as "500ms"; a bare number is an error, as is a key that is not known. Printing
// or encoding it shows no header value and no credential in the URL. (In an unexported
// field of another struct, fmt looks past that: keep it there by pointer.)
type EndpointConfig struct {
	// Name and URL are for programs that keep them here: see NewEndpoint. Disabled
	// is for those that decide by it whether to call it.
	Name     string `yaml:"name,omitempty" json:"name,omitempty"`
	URL      string `yaml:"url,omitempty" json:"url,omitempty"`
	Disabled bool   `yaml:"disabled,omitempty" json:"disabled,omitempty"`

	// Headers are set on every request: see HTTPConfig.
	Headers http.Header `yaml:"headers,omitempty" json:"headers,omitempty"`

	// Timeout bounds one attempt. Zero means 15s.
	Timeout time.Duration `yaml:"timeout,omitempty" json:"timeout,omitempty"`

	// Threshold is how many failures in a row make the endpoint suspect: from then on
	// one envelope at a time is tried until one succeeds. Zero means 10.
	Threshold int `yaml:"threshold,omitempty" json:"threshold,omitempty"`

	// Backoff is the longest delay after a first failure. It doubles with each
	// further one, up to MaxBackoff; the delay is a random part of it. Zero means 1s.
	Backoff time.Duration `yaml:"backoff,omitempty" json:"backoff,omitempty"`

	// MaxBackoff bounds Backoff. Zero means 5m, or Backoff if that is longer.
	MaxBackoff time.Duration `yaml:"maxbackoff,omitempty" json:"maxbackoff,omitempty"`

	// MaxAttempts is how often an envelope is tried before its events go to the dead
	// letters, and MaxAge how long, from its first attempt on. Zero means for ever.
	MaxAttempts int           `yaml:"maxattempts,omitempty" json:"maxattempts,omitempty"`
	MaxAge      time.Duration `yaml:"maxage,omitempty" json:"maxage,omitempty"`

	// DeadLetters gets the events that are refused or given up. Nil means the hub's
	// (see HubConfig) or, where it has none, the newest thousand, in memory.
	DeadLetters DeadLetterSink `yaml:"-" json:"-"`

	// MaxPending, MaxPendingBytes and Overflow limit what the endpoint may have pending
	// in memory, in its own queue or in a Broadcaster: see HubConfig.
	MaxPending      int      `yaml:"maxpending,omitempty" json:"maxpending,omitempty"`
	MaxPendingBytes int      `yaml:"maxpendingbytes,omitempty" json:"maxpendingbytes,omitempty"`
	Overflow        Overflow `yaml:"overflow,omitempty" json:"overflow,omitempty"`

	// MediaType is the Content-Type of an envelope. Empty means MediaTypeV2.
	MediaType string `yaml:"mediatype,omitempty" json:"mediatype,omitempty"`

	// MaxEvents is how many events one envelope has at most. Zero means 1024, which
	// is also the most; 1 is for receivers that read only the first.
	MaxEvents int `yaml:"maxevents,omitempty" json:"maxevents,omitempty"`

	// MaxBytes is how large an envelope of several events gets. Zero means 1 MiB.
	MaxBytes int `yaml:"maxbytes,omitempty" json:"maxbytes,omitempty"`

	// MaxInFlight is how many envelopes may be under way at once, at most 64. Zero means
	// one, and all events in their order. With more it is kept for each repository. After
	// a failure what is left goes one by one; that attempt does not count for MaxAttempts,
	// and what had come through behind a refused event may come again.
	MaxInFlight int `yaml:"maxinflight,omitempty" json:"maxinflight,omitempty"`

	// SigningKeys sign each request: see HTTPConfig.
	SigningKeys []string `yaml:"signingkeys,omitempty" json:"signingkeys,omitempty"`

	// TLS is how an https receiver is known, and Addresses say where connections may go.
	TLS       TLS       `yaml:"tls,omitempty" json:"tls,omitzero"`
	Addresses Addresses `yaml:"addresses,omitempty" json:"addresses,omitzero"`

	// IgnoredMediaTypes is an older name for Ignore.MediaTypes. Both count.
	IgnoredMediaTypes []string `yaml:"ignoredmediatypes,omitempty" json:"ignoredmediatypes,omitempty"`

	// Only and Ignore say which events the endpoint gets: see Filter.
	Only   Rules `yaml:"only,omitempty" json:"only,omitzero"`
	Ignore Rules `yaml:"ignore,omitempty" json:"ignore,omitzero"`

	// Images lets through one event for each image, in place of one for each of its parts:
	// see Filter.
	Images bool `yaml:"images,omitempty" json:"images,omitempty"`

	// Logger gets what the endpoint has to say. Nil means logrus's standard logger.
	Logger *logrus.Entry `yaml:"-" json:"-"`
}

// detach makes copies of what a caller could still change.
func (c *EndpointConfig) detach() {
	c.Headers = c.Headers.Clone()
	c.SigningKeys = slices.Clone(c.SigningKeys)
	c.IgnoredMediaTypes = slices.Clone(c.IgnoredMediaTypes)
	c.Addresses.Allow, c.Addresses.Deny = slices.Clone(c.Addresses.Allow), slices.Clone(c.Addresses.Deny)
	for _, r := range []*Rules{&c.Only, &c.Ignore} {
		r.MediaTypes, r.Actions, r.Repositories = slices.Clone(r.MediaTypes), slices.Clone(r.Actions), slices.Clone(r.Repositories)
	}
}

func (c *EndpointConfig) filter() Filter {
	f := Filter{Only: c.Only, Ignore: c.Ignore, Images: c.Images}
	f.Ignore.MediaTypes = append(append([]string(nil), c.Ignore.MediaTypes...), c.IgnoredMediaTypes...)
	return f
}

func (c *EndpointConfig) retry() RetryConfig {
	return RetryConfig{
		Threshold: c.Threshold, Backoff: c.Backoff, MaxBackoff: c.MaxBackoff,
		MaxAttempts: c.MaxAttempts, MaxAge: c.MaxAge,
		DeadLetters: c.DeadLetters, Name: c.Name, Logger: c.Logger,
	}
}

func (c *EndpointConfig) queue() HubConfig {
	return HubConfig{MaxPending: c.MaxPending, MaxPendingBytes: c.MaxPendingBytes, Overflow: c.Overflow, Logger: c.Logger}
}

func (c *EndpointConfig) http() HTTPConfig {
	return HTTPConfig{
		Headers: c.Headers, Timeout: c.Timeout,
		MediaType: c.MediaType, MaxEvents: c.MaxEvents, MaxBytes: c.MaxBytes,
		SigningKeys: c.SigningKeys, TLS: c.TLS, Addresses: c.Addresses,
	}
}

// maxInFlight is more than any receiver wants.
const maxInFlight = 64

func (c *EndpointConfig) checkInFlight() error {
	if c.MaxInFlight < 0 || c.MaxInFlight > maxInFlight {
		return wrong("maxinflight", "%d: allowed are zero, for one, to %d", c.MaxInFlight, maxInFlight)
	}
	return nil
}

// The same structs without methods, for fmt and the encoders.
type (
	plainEndpointConfig EndpointConfig
	plainHTTPConfig     HTTPConfig
)

// configJSON is how an EndpointConfig is encoded: its durations are text.
type configJSON struct {
	*plainEndpointConfig
	Timeout    durationText `yaml:"timeout,omitempty" json:"timeout,omitempty"`
	Backoff    durationText `yaml:"backoff,omitempty" json:"backoff,omitempty"`
	MaxBackoff durationText `yaml:"maxbackoff,omitempty" json:"maxbackoff,omitempty"`
	MaxAge     durationText `yaml:"maxage,omitempty" json:"maxage,omitempty"`
}

type durationText json.RawMessage

func (d durationText) MarshalJSON() ([]byte, error) { return d, nil }

func (d *durationText) UnmarshalJSON(b []byte) error {
	*d = append((*d)[:0], b...)
	return nil
}

// UnmarshalJSON decodes a configuration and refuses what it does not know.
func (c *EndpointConfig) UnmarshalJSON(b []byte) error {
	decoded := *c // what is not in the document stays
	decoded.detach()
	w := configJSON{plainEndpointConfig: (*plainEndpointConfig)(&decoded)}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil {
		if typed := (*json.UnmarshalTypeError)(nil); errors.As(err, &typed) {
			_, field, _ := strings.Cut(typed.Field, ".") // without the name of our struct
			err = wrong(field, "%s: allowed is %s", typed.Value, kindOfValue(typed.Type))
		} else if _, field, ok := strings.Cut(err.Error(), "json: unknown field "); ok {
			// How deep it stands, the decoder does not say.
			err = wrong("", "%s: there is no such option", field)
		}
		return fmt.Errorf("notifications: endpoint: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("notifications: endpoint: more than one JSON value")
	}

	for _, f := range []struct {
		field string
		text  durationText
		to    *time.Duration
	}{
		{"timeout", w.Timeout, &decoded.Timeout},
		{"backoff", w.Backoff, &decoded.Backoff},
		{"maxbackoff", w.MaxBackoff, &decoded.MaxBackoff},
		{"maxage", w.MaxAge, &decoded.MaxAge},
	} {
		if err := f.text.parse(f.to); err != nil {
			return fmt.Errorf("notifications: endpoint: %w", &ConfigError{Field: f.field, Err: err})
		}
	}
	*c = decoded
	return nil
}

// kindOfValue says what a field takes, in the words of YAML.
func kindOfValue(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "a map"
	}
	return "a whole number"
}

func (d durationText) parse(to *time.Duration) error {
	if len(d) == 0 || string(d) == "null" {
		return nil
	}
	const allowed = `allowed is text with a unit, as "500ms" or "1m30s"`
	var text string
	if err := json.Unmarshal(d, &text); err != nil {
		// A number would have meant nanoseconds, and nobody ever meant these.
		return fmt.Errorf("%.100s: %s", d, allowed)
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%.100q: %s", text, allowed)
	}
	*to = v
	return nil
}

// UnmarshalYAML decodes a configuration as UnmarshalJSON does. The YAML libraries
// call it.
func (c *EndpointConfig) UnmarshalYAML(unmarshal func(any) error) error {
	var v map[string]any
	if err := unmarshal(&v); err != nil {
		return err
	}
	b, err := yamljson.Marshal(v)
	if err != nil {
		return fmt.Errorf("notifications: endpoint: %w", err)
	}
	return c.UnmarshalJSON(b)
}

// shown returns the configuration as it may be shown.
func (c EndpointConfig) shown() *plainEndpointConfig {
	if c.URL != "" {
		c.URL = redactURL(c.URL)
	}
	c.Headers, c.SigningKeys = redactHeaders(c.Headers), redactKeys(c.SigningKeys)
	c.Logger, c.DeadLetters = nil, nil
	return (*plainEndpointConfig)(&c)
}

// MarshalJSON encodes the configuration to be looked at, not to be kept: what is
// decoded from it has "[redacted]" for each header value.
func (c EndpointConfig) MarshalJSON() ([]byte, error) {
	text := func(d time.Duration) durationText {
		if d == 0 {
			return nil
		}
		return durationText(fmt.Sprintf("%q", d))
	}
	return json.Marshal(configJSON{
		plainEndpointConfig: c.shown(),
		Timeout:             text(c.Timeout),
		Backoff:             text(c.Backoff),
		MaxBackoff:          text(c.MaxBackoff),
		MaxAge:              text(c.MaxAge),
	})
}

// MarshalYAML is MarshalJSON for YAML.
func (c EndpointConfig) MarshalYAML() (any, error) { return *c.shown(), nil }

// Format prints the configuration without its secrets, whatever the verb.
func (c EndpointConfig) Format(f fmt.State, verb rune) {
	fmt.Fprintf(f, fmt.FormatString(f, verb), *c.shown())
}

func (c HTTPConfig) shown() plainHTTPConfig {
	c.Headers, c.SigningKeys = redactHeaders(c.Headers), redactKeys(c.SigningKeys)
	return plainHTTPConfig(c)
}

// MarshalJSON encodes the configuration to be looked at: without its secrets.
func (c HTTPConfig) MarshalJSON() ([]byte, error) { return json.Marshal(c.shown()) }

// MarshalYAML is MarshalJSON for YAML.
func (c HTTPConfig) MarshalYAML() (any, error) { return c.shown(), nil }

// Format prints the configuration without its secrets, whatever the verb.
func (c HTTPConfig) Format(f fmt.State, verb rune) {
	fmt.Fprintf(f, fmt.FormatString(f, verb), c.shown())
}
