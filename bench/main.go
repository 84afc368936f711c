package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime/pprof"

	"github.com/sirupsen/logrus"
)

func main() {
	child, err := runChild(os.Stdout)
	met := true
	if !child {
		met, err = run(os.Args[1:], os.Stdout, os.Stderr)
	}
	switch {
	case errors.Is(err, flag.ErrHelp): // it was shown
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	case !met:
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	json, short, check bool
	rounds             int
	run                *regexp.Regexp
	cpuProfile         string
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	var rows string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&o.json, "json", false, "print one JSON object a line")
	flags.BoolVar(&o.short, "short", false, "small counts, one round, no verdicts")
	flags.BoolVar(&o.check, "check", false, "exit with status 1 if a target is missed")
	flags.IntVar(&o.rounds, "rounds", 5, "how many `rounds`")
	flags.StringVar(&rows, "run", "", "run only rows whose name matches `regexp`")
	flags.StringVar(&o.cpuProfile, "cpuprofile", "", "write a CPU profile to `file`")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("arguments: %q: allowed are flags only", flags.Args())
	}
	if o.rounds < 1 {
		return o, fmt.Errorf("rounds: %d: allowed are 1 and above", o.rounds)
	}
	if o.short {
		o.rounds = 1
	}
	var err error
	o.run, err = regexp.Compile(rows)
	return o, err
}

// run measures and reports. It says false if a target was to be checked and missed.
func run(args []string, stdout, stderr io.Writer) (met bool, err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return false, err
	}
	if o.cpuProfile != "" {
		f, err := os.Create(o.cpuProfile)
		if err != nil {
			return false, err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return false, err
		}
		defer pprof.StopCPUProfile()
	}
	logrus.SetOutput(io.Discard) // what is given up is logged, by all

	results, err := measureAll(o, stderr)
	if err != nil {
		return false, err
	}
	if o.json {
		err = printJSON(stdout, results)
	} else {
		err = printTable(stdout, results, o)
	}
	return !o.check || allMet(results), err
}
