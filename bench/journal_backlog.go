package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications/journal"
)

const backlogEvents = 5_000_000

// journalBacklog measures a journal with five million events that nobody takes.
func journalBacklog() experiment {
	const scaled = 100_000
	return experiment{
		once: true,
		rows: []row{
			{
				name: "journal/memory", unit: "MiB at most", targets: []target{atMost(own, 48)},
				peer: fmt.Sprintf("%s, × %d", distribution, backlogEvents/scaled),
			},
			{name: "journal/memory/then", unit: "MiB"},
			{name: "journal/open", unit: "ms", targets: []target{atMost(own, 1000)}},
		},
		round: func(s scale) ([]sample, error) {
			n := s.of(backlogEvents)
			if err := roomFor(n); err != nil {
				return nil, err
			}
			samples, err := backlogRound(n)
			if err != nil {
				return nil, err
			}
			dead := setup{endpoints: 10, dead: true, unshared: true}
			theirs, err := with(startTheirs, dead, heapOf(scaled))(s)
			if err != nil {
				return nil, err
			}
			samples[0].peer = mebibytes(uint64(theirs[0] * float64(n)))
			return samples, nil
		},
	}
}

// backlogRound has a journal filled, and opens it again.
func backlogRound(n int) (samples []sample, err error) {
	dir, err := os.MkdirTemp("", "bench-journal-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	dir = filepath.Join(dir, "events")
	grown, err := inChild(backlog{Dir: dir, Events: n})
	if err != nil {
		return nil, err
	}
	opens, err := timeOpens(dir)
	if err != nil {
		return nil, err
	}
	return []sample{{ours: grown.Most}, {ours: grown.Then}, opens}, nil
}

// backlog is a journal to be filled by a process of its own: what the experiments before
// have left would let the garbage of this one grow as large.
type backlog struct {
	Dir    string
	Events int
}

// growths are by how much the memory of that process has grown, in MiB.
type growths struct{ Most, Then float64 }

// backlogEnv has a process fill a journal, and nothing else.
const backlogEnv = "BENCH_BACKLOG"

func inChild(b backlog) (g growths, err error) {
	self, err := os.Executable()
	if err != nil {
		return g, err
	}
	what, err := json.Marshal(b)
	if err != nil {
		return g, err
	}
	child := exec.Command(self)
	child.Env = append(os.Environ(), backlogEnv+"="+string(what))
	child.Stderr = os.Stderr
	out, err := child.Output()
	if err != nil {
		return g, fmt.Errorf("filling a journal: %w", err)
	}
	if err := json.Unmarshal(out, &g); err != nil {
		return g, fmt.Errorf("filling a journal: %q: %w", out, err)
	}
	if g == (growths{}) {
		return g, &skippedError{"the memory of a process is known of Linux only"}
	}
	return g, nil
}

// runChild does what backlogEnv says, if this process is for that.
func runChild(stdout io.Writer) (is bool, err error) {
	what := os.Getenv(backlogEnv)
	if what == "" {
		return false, nil
	}
	var b backlog
	if err := json.Unmarshal([]byte(what), &b); err != nil {
		return true, fmt.Errorf("%s: %w", backlogEnv, err)
	}
	logrus.SetOutput(io.Discard)
	g, err := fillBacklog(b)
	if skipped := (*skippedError)(nil); errors.As(err, &skipped) {
		err = nil
	}
	return true, errors.Join(err, json.NewEncoder(stdout).Encode(g))
}

// fillBacklog fills a journal, and looks at what that takes.
func fillBacklog(b backlog) (g growths, err error) {
	before, err := resident()
	if err != nil {
		return g, err
	}
	o, err := openOurJournal(b.Dir, journal.Config{Sync: journal.SyncNone}, setup{endpoints: 10, dead: true})
	if err != nil {
		return g, err
	}
	peak := watch(func() uint64 {
		now, _ := residentNow() // as before, when it worked
		return now
	})
	err = o.fill(b.Events)
	most := peak()
	if err != nil {
		return g, errors.Join(err, o.leave())
	}
	then, err := resident()
	return growths{growth(before, most), growth(before, then)}, errors.Join(err, o.leave())
}

func growth(before, after uint64) float64 { return mebibytes(max(before, after) - before) }

func mebibytes(n uint64) float64 { return float64(n) / (1 << 20) }

// timeOpens returns how many milliseconds it takes to open a journal, the median of five
// times, and to read all of its segments.
func timeOpens(dir string) (sample, error) {
	var opens []float64
	for range 5 {
		start := time.Now()
		j, err := journal.Open(dir, journal.Config{})
		if err != nil {
			return sample{}, err
		}
		opens = append(opens, milliseconds(time.Since(start)))
		if err := closeJournal(j); err != nil {
			return sample{}, err
		}
	}
	slices.Sort(opens)
	read, err := readSegments(dir, func([]byte) {})
	return sample{ours: middle(opens), ceiling: milliseconds(read)}, err
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// roomFor returns an error if there is no room for so many events where temporary files are.
func roomFor(n int) error {
	var s syscall.Statfs_t
	if err := syscall.Statfs(os.TempDir(), &s); err != nil {
		return err
	}
	one, err := eventBytes()
	if err != nil {
		return err
	}
	const segment = 64 << 20
	free, needed := uint64(s.Bavail)*uint64(s.Bsize), uint64(n)*uint64(one+100)+2*segment
	if free < needed {
		return &skippedError{fmt.Sprintf("%d MiB needed in %s, %d MiB free", needed>>20, os.TempDir(), free>>20)}
	}
	return nil
}
