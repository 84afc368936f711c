package main

import "github.com/registry-notifications/notifications/journal"

// journalWriter starts a journal that has nobody to deliver to.
func journalWriter(sync journal.Sync) func() (writer, error) {
	return func() (writer, error) { return newOurJournal(sync, setup{}) }
}

func journalSingle() experiment {
	return experiment{
		rows: []row{{name: "journal/single", unit: eventsPerSecond, targets: []target{atLeast(ofCeiling, 0.85)}}},
		round: contest(
			contender{journalWriter(journal.SyncAlways), 3_000, 1},
			contender{startRaw(1, true), 3_000, 1},
		),
	}
}

func journalGroup() experiment {
	return experiment{
		rows: []row{
			{
				name: "journal/group", unit: eventsPerSecond, peer: bboltName,
				targets: []target{atLeast(ofCeiling, 0.6), atLeast(ratio, 1.7)},
			},
			{name: "journal/group vs bbolt Batch", unit: eventsPerSecond, peer: bboltBatch},
		},
		round: contest(
			contender{journalWriter(journal.SyncAlways), 50_000, gang},
			contender{startRaw(gang, true), 50_000, 1},
			contender{startBolt(true), 30_000, gang},
			contender{startBoltBatch, 30_000, gang},
		),
	}
}

// journalNone has as many writers as journalGroup. Without a sync there is nothing to
// share: with bbolt each event is a transaction of its own, as one would have it. That it
// is faster with a committer that gathers writers is a row of its own.
func journalNone() experiment {
	return experiment{
		rows: []row{
			{
				name: "journal/none", unit: eventsPerSecond, peer: bboltName,
				targets: []target{atLeast(ofCeiling, 0.4), atLeast(ratio, 8)},
			},
			{name: "journal/none vs bbolt gathered", unit: eventsPerSecond, peer: bboltGather},
		},
		round: contest(
			contender{journalWriter(journal.SyncNone), 200_000, gang},
			contender{startRaw(1, false), 200_000, 1},
			contender{startBoltAlone, 20_000, gang},
			contender{startBolt(false), 100_000, gang},
		),
	}
}

// journalNoneSingle has one writer, whose time is that of changing from one goroutine to
// another and back.
func journalNoneSingle() experiment {
	return experiment{
		rows: []row{{name: "journal/none/single", unit: eventsPerSecond, peer: bboltName}},
		round: contest(
			contender{journalWriter(journal.SyncNone), 200_000, 1},
			contender{startRaw(1, false), 200_000, 1},
			contender{startBoltAlone, 20_000, 1},
		),
	}
}
