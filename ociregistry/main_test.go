package ociregistry_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// long has TestMemoryIsFlatOverTheNetwork do at full length what it does every day.
var long = flag.Bool("long", false, "stream 4 GiB instead of 64 MiB")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
