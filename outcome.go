package notifications

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/registry-notifications/notifications/internal/outbound"
)

// FailureKind says what can be done about a failed delivery.
type FailureKind int

const (
	// Transient failures pass: no answer, 408, 425, 429, 5xx except 501, and a
	// redirect, which is not followed because that can turn the POST into an empty
	// GET.
	Transient FailureKind = iota

	// Misconfigured is what an operator can mend: 401, 403, 404, other statuses of
	// the client's making, a TLS handshake that failed, or an address that is blocked.
	Misconfigured

	// Refused means that the receiver does not want this content: 400, 413, 415,
	// 422, 501.
	Refused

	// Gone means that there is no receiver any more: 410.
	Gone
)

func (k FailureKind) String() string {
	switch k {
	case Transient:
		return "transient"
	case Misconfigured:
		return "misconfigured"
	case Refused:
		return "refused"
	case Gone:
		return "gone"
	}
	return "FailureKind(" + strconv.Itoa(int(k)) + ")"
}

// DeliveryError is why a receiver did not accept an envelope. It holds nothing
// secret.
type DeliveryError struct {
	// Kind says how to go on.
	Kind FailureKind
	// Status is the HTTP status, or zero if there was no answer.
	Status int
	// Events is how many events were in the envelope.
	Events int
	// RetryAfter is how long the receiver wants to be left alone (RFC 9110, 10.2.3),
	// at most MaxRetryAfter. Zero: it did not say.
	RetryAfter time.Duration
	// Answer is a piece of what the receiver said, at most 512 bytes of printable text.
	Answer string
	// Err is why there was no answer, else nil.
	Err error
}

// Permanent says whether it makes no sense to send the same again, unless somebody
// has changed something.
func (e *DeliveryError) Permanent() bool { return e.Kind != Transient }

func (e *DeliveryError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("notifications: no answer from the receiver: %v", e.Err)
	}
	if e.Answer != "" {
		return fmt.Sprintf("notifications: the receiver answered %s: %.100s", statusLine(e.Status), e.Answer)
	}
	return fmt.Sprintf("notifications: the receiver answered %s", statusLine(e.Status))
}

func (e *DeliveryError) Unwrap() error { return e.Err }

// MaxRetryAfter is the longest Retry-After that is obeyed: a receiver cannot put
// an endpoint off for ever.
const MaxRetryAfter = time.Hour

// statusLine is made from the number alone: the receiver's own words could be
// anything, and different every time.
func statusLine(status int) string {
	return strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
}

func kindOfStatus(status int) FailureKind {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return Transient
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
		http.StatusUnprocessableEntity, http.StatusNotImplemented:
		return Refused
	case http.StatusGone:
		return Gone
	}
	if status/100 == 4 {
		return Misconfigured
	}
	return Transient
}

func kindOf(err error) FailureKind {
	var (
		blocked      *outbound.BlockedError
		file         *outbound.FieldError
		verification *tls.CertificateVerificationError
		record       tls.RecordHeaderError
		op           *net.OpError
	)
	switch {
	case errors.As(err, &blocked), errors.As(err, &file):
		return Misconfigured
	case errors.As(err, &verification), errors.As(err, &record):
		return Misconfigured
	case errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"):
		return Misconfigured // what crypto/tls calls an alert, the other side's or ours
	}
	return Transient
}

// retryAfter reads both forms of the header: seconds, or a date.
func retryAfter(resp *http.Response, now time.Time) time.Duration {
	v := strings.TrimSpace(resp.Header.Get("Retry-After"))
	if v == "" {
		return 0
	}
	if digits := strings.Trim(v, "0123456789"); digits == "" {
		seconds, err := strconv.ParseInt(v, 10, 64)
		if err != nil || seconds > int64(MaxRetryAfter/time.Second) {
			return MaxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	date, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	return min(max(0, date.Sub(now)), MaxRetryAfter)
}
