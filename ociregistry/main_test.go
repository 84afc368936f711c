package ociregistry_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// long has the tests do at full length what they do at some length every day.
var long = flag.Bool("long", false, "stream 4 GiB instead of 64 MiB")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
