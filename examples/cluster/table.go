package main

import "github.com/registry-notifications/notifications"

func (p *printer) printAccounts(accounts []account) {
	p.print("\n%-12s%10s%15s%11s%6s%7s%14s", "REGISTRY", "ACCEPTED", "IN THE STREAM", "DELIVERED", "LOST", "TWICE", "OUT OF ORDER")
	for _, a := range accounts {
		p.print("%-12s%10d%15d%11d%6d%7d%14d", a.registry, a.accepted, a.inStream, a.delivered, a.lost, a.twice, a.late)
	}
}

func (p *printer) printWorkers(workers []*worker, w *webhook) {
	p.print("\n%-12s%10s%11s%9s%10s%14s%9s%17s", "WORKER", "ACCEPTED", "DELIVERED", "PENDING", "FILTERED", "DEAD-LETTERED", "DROPPED", "TO THE WEBHOOK")
	for _, i := range workers {
		m, end := i.metrics(), ""
		if i.killed != nil {
			end = "  killed"
		}
		p.print("%-12s%10d%11d%9d%10d%14d%9d%17d%s",
			i.name, m.Accepted, m.Delivered, m.Pending, m.Filtered, m.DeadLettered, dropped(m), w.brought(i.name), end)
	}
}

func dropped(m notifications.Metrics) (n uint64) {
	for _, d := range m.Dropped {
		n += d
	}
	return n
}

// addsUp says whether everything that a sink was given is somewhere.
func addsUp(m notifications.Metrics) bool {
	return m.Accepted == m.Delivered+m.Pending+m.Filtered+m.DeadLettered+dropped(m)
}
