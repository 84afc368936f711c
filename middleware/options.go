package middleware

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/internal/yamljson"
)

// root is where the options stand in the server's YAML.
const root = "middleware.registry." + name

// options are what an operator can set, with the defaults filled in.
type options struct {
	Endpoints endpoints `json:"endpoints"`
	Events    struct {
		IncludeReferences bool `json:"includereferences"`
	} `json:"events"`
	URL             string   `json:"url"`
	Addr            string   `json:"addr"`
	DispatchTimeout duration `json:"dispatchtimeout"`
	DrainTimeout    duration `json:"draintimeout"`
	TrustedProxies  int      `json:"trustedproxies"`
	TrustBasicUser  bool     `json:"trustbasicuser"`
	PullThrough     bool     `json:"pullthrough"`
}

// parse reads what the server's YAML decoder has made of the options. An error
// names the option by its path.
func parse(values map[string]any) (*options, error) {
	if err := checkPlain(root, reflect.ValueOf(values)); err != nil {
		return nil, err
	}
	b, err := yamljson.Marshal(values)
	if err != nil {
		return nil, &optionError{root, err}
	}

	o := &options{Addr: ":5000", DrainTimeout: duration(10 * time.Second)}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(o); err != nil {
		return nil, at(root, err)
	}
	if o.DrainTimeout < 0 {
		return nil, &optionError{root + ".draintimeout", fmt.Errorf("%v: allowed are zero, for the default, and above", time.Duration(o.DrainTimeout))}
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = duration(10 * time.Second)
	}
	return o, nil
}

// checkPlain lets pass what a YAML decoder makes, and what a program may write in
// its place. A struct has an encoding of its own: that of an EndpointConfig leaves
// out its secrets, and the receiver would be sent the word "redacted".
func checkPlain(path string, v reflect.Value) error {
	switch v.Kind() {
	case reflect.Interface:
		return checkPlain(path, v.Elem())
	case reflect.Map:
		for entry := v.MapRange(); entry.Next(); {
			if err := checkPlain(fmt.Sprintf("%s.%v", path, entry.Key()), entry.Value()); err != nil {
				return err
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := checkPlain(fmt.Sprintf("%s[%d]", path, i), v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Struct, reflect.Pointer, reflect.Func, reflect.Chan:
		return &optionError{path, fmt.Errorf("a %v: allowed are maps, lists, text, numbers and booleans, as YAML has them", v.Type())}
	}
	return nil
}

// endpoints are decoded one by one, so that an error says which it was.
type endpoints []notifications.EndpointConfig

func (e *endpoints) UnmarshalJSON(b []byte) error {
	const path = root + ".endpoints"
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil {
		return at(path, err)
	}
	*e = make(endpoints, len(list))
	for i, raw := range list {
		if err := (*e)[i].UnmarshalJSON(raw); err != nil {
			return at(fmt.Sprintf("%s[%d]", path, i), err)
		}
	}
	return nil
}

// duration is text with a unit. A bare number would have meant nanoseconds, and
// nobody ever meant these.
type duration time.Duration

func (d *duration) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var text string
	if err := json.Unmarshal(b, &text); err == nil {
		if v, err := time.ParseDuration(text); err == nil {
			*d = duration(v)
			return nil
		}
	}
	// Of this error the decoder fills in which field it was.
	return &json.UnmarshalTypeError{Value: fmt.Sprintf("%.100s", b), Type: reflect.TypeFor[duration]()}
}

// optionError is what is wrong with one option.
type optionError struct {
	path string
	err  error
}

func (e *optionError) Error() string { return e.path + ": " + e.err.Error() }
func (e *optionError) Unwrap() error { return e.err }

// at says where in the YAML the decoder came upon err.
func at(path string, err error) error {
	if e := (*optionError)(nil); errors.As(err, &e) {
		return err // knows better
	}
	if c := (*notifications.ConfigError)(nil); errors.As(err, &c) {
		if c.Field != "" {
			path += "." + c.Field
		}
		return &optionError{path, c.Err}
	}
	if t := (*json.UnmarshalTypeError)(nil); errors.As(err, &t) {
		if t.Field != "" {
			path += "." + t.Field
		}
		return &optionError{path, fmt.Errorf("%s: allowed is %s", t.Value, allowed(t.Type))}
	}
	if _, field, ok := strings.Cut(err.Error(), "json: unknown field "); ok {
		return &optionError{path, fmt.Errorf("%s: there is no such option", field)}
	}
	return &optionError{path, err}
}

func allowed(t reflect.Type) string {
	if t == reflect.TypeFor[duration]() {
		return `text with a unit, as "500ms" or "1m30s"`
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.String:
		return "text"
	case reflect.Slice:
		return "a list"
	}
	return "a map"
}
