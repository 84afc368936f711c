package outbound

import "fmt"

// FieldError says which option is wrong. Its text is the option, its value and what
// is allowed.
type FieldError struct {
	// Field is the option's name in lower case, with an index or a path if it has
	// one: "allow[1]", "tls.cafile".
	Field string
	Err   error
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }

func (e *FieldError) Unwrap() error { return e.Err }

func wrong(field, format string, args ...any) error {
	return &FieldError{Field: field, Err: fmt.Errorf(format, args...)}
}
