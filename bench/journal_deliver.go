package main

import "github.com/registry-notifications/notifications/journal"

// journalDeliver is deliver/fanout with a journal in the place of the hub in memory, and
// writers enough for its syncs.
func journalDeliver() experiment {
	ten := setup{endpoints: 10}
	return experiment{
		rows: []row{{
			name: "journal/deliver", unit: "deliveries/s", peer: distribution,
			targets: []target{atLeast(ratio, 20)},
		}},
		round: inTurn(
			with(startJournal(journal.SyncAlways), ten, deliveringBy(gang, 50_000, batch)),
			with(startTheirs, ten, delivering(2_000, 1)),
			nil,
		),
	}
}
