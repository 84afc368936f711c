package main

import "time"

const (
	eventsPerSecond = "events/s"
	// batch is how many events an envelope of ours has at most.
	batch = 1024
)

func deliverSingle() experiment {
	single := setup{endpoints: 1, single: true}
	return experiment{
		rows: []row{
			{
				name: "deliver/single", unit: eventsPerSecond, peer: distribution,
				targets: []target{atLeast(ratio, 4), atLeast(ofCeiling, 0.75)},
			},
			{name: "deliver/single vs watermill-http", unit: eventsPerSecond, peer: watermillHTTP},
		},
		round: often(10, func(s scale) ([]sample, error) {
			samples, err := inTurn(
				with(startOurs, single, delivering(30_000, 1)),
				with(startTheirs, single, delivering(10_000, 1)),
				ceilingOf(30_000, 1, 30_000),
			)(s)
			if err != nil {
				return nil, err
			}
			rate, err := deliverWatermill(s.of(10_000))
			return append(samples, sample{ours: samples[0].ours, peer: rate}), err
		}),
	}
}

// often does a round of rates in so many small ones, because those who are compared should
// not be seconds apart on a machine whose speed changes.
func often(times int, round func(scale) ([]sample, error)) func(scale) ([]sample, error) {
	return func(s scale) ([]sample, error) {
		var total []sample // seconds for an event, and then their inverse
		for range times {
			samples, err := round(s * scale(times))
			if err != nil {
				return nil, err
			}
			if total == nil {
				total = make([]sample, len(samples))
			}
			for i, one := range samples {
				total[i].ours += 1 / one.ours
				total[i].peer += 1 / one.peer
				total[i].ceiling += 1 / one.ceiling
			}
		}
		for i, sum := range total {
			n := float64(times)
			total[i] = sample{ours: n / sum.ours, peer: n / sum.peer, ceiling: n / sum.ceiling}
		}
		return total, nil
	}
}

func deliverBatch() experiment {
	return experiment{
		rows: []row{{
			name: "deliver/batch", unit: eventsPerSecond, peer: distribution,
			targets: []target{atLeast(ratio, 100), atLeast(ofCeiling, 0.4)},
		}},
		round: inTurn(
			with(startOurs, setup{endpoints: 1}, delivering(1_000_000, batch)),
			with(startTheirs, setup{endpoints: 1}, delivering(10_000, 1)),
			ceilingOf(1_000_000/batch, batch, 32),
		),
	}
}

func deliverSlow() experiment {
	slow := setup{endpoints: 1, conduct: conduct{delay: 10 * time.Millisecond}}
	return experiment{
		rows: []row{{
			name: "deliver/10ms", unit: eventsPerSecond, peer: distribution,
			targets: []target{atLeast(ratio, 500)},
		}},
		round: inTurn(
			with(startOurs, slow, delivering(100_000, batch)), with(startTheirs, slow, delivering(200, 1)), nil,
		),
	}
}

func deliverFanout() experiment {
	ten := setup{endpoints: 10}
	return experiment{
		rows: []row{{
			name: "deliver/fanout", unit: "deliveries/s", peer: distribution,
			targets: []target{atLeast(ratio, 100)},
		}},
		round: inTurn(
			with(startOurs, ten, delivering(100_000, batch)), with(startTheirs, ten, delivering(2_000, 1)), nil,
		),
	}
}

// delivering measures the deliveries a second of n events, of which at most so many
// are in one POST.
func delivering(n, perPost int) func(system, scale) ([]float64, error) {
	return deliveringBy(1, n, perPost)
}

// deliveringBy is delivering with so many goroutines that write.
func deliveringBy(writers, n, perPost int) func(system, scale) ([]float64, error) {
	return func(s system, c scale) ([]float64, error) {
		rate, err := deliverBy(writers, s, c.of(n))
		if err != nil {
			return nil, err
		}
		return []float64{rate * float64(s.fanout())}, finish(s, perPost)
	}
}

// ceilingOf makes so many POSTs of so many events, with at most so many different
// bodies.
func ceilingOf(posts, perPost, different int) measure {
	return func(s scale) ([]float64, error) {
		n := max(1, posts/int(s))
		all, err := bodies(min(different, n), perPost)
		if err != nil {
			return nil, err
		}
		rate, err := ceiling(all, n, perPost)
		return []float64{rate}, err
	}
}

// connections counts what a receiver accepts.
func connections() experiment {
	single := setup{endpoints: 1, single: true}
	count := func(s system, c scale) ([]float64, error) {
		if _, err := deliver(s, c.of(10_000)); err != nil {
			return nil, err
		}
		accepted := s.receiver().connections.Load()
		return []float64{float64(accepted)}, finish(s, 1)
	}
	return experiment{
		rows: []row{{
			name: "connections", unit: "for 10,000 POSTs", peer: distribution,
			targets: []target{atMost(own, 2)},
		}},
		round: inTurn(with(startOurs, single, count), with(startTheirs, single, count), nil),
	}
}
