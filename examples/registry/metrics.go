package main

import (
	"encoding/json"
	"expvar"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// endpointMetrics is what this program reads of the metrics that every endpoint has
// in expvar.
type endpointMetrics struct {
	Name    string `json:"name"`
	Metrics struct {
		Accepted, Delivered, Pending, Filtered, DeadLettered uint64
		Failures, Errors                                     uint64
		Dropped, Statuses                                    map[string]uint64
		State                                                struct{ Phase, Reason string }
	}
}

// readMetrics returns the metrics of the named endpoints, as a dashboard would read
// them from /debug/vars.
func readMetrics(names ...string) ([]endpointMetrics, error) {
	registry := expvar.Get("registry")
	if registry == nil {
		return nil, fmt.Errorf("expvar has no registry")
	}
	var published struct {
		Notifications struct {
			Endpoints []endpointMetrics `json:"endpoints"`
		} `json:"notifications"`
	}
	if err := json.Unmarshal([]byte(registry.String()), &published); err != nil {
		return nil, err
	}

	metrics := make([]endpointMetrics, len(names))
	for i, name := range names {
		j := slices.IndexFunc(published.Notifications.Endpoints, func(m endpointMetrics) bool { return m.Name == name })
		if j < 0 {
			return nil, fmt.Errorf("expvar has no endpoint %q", name)
		}
		metrics[i] = published.Notifications.Endpoints[j]
	}
	return metrics, nil
}

// settled says whether the endpoint has delivered n events and has nothing else on
// its hands.
func (m *endpointMetrics) settled(n int) bool {
	return m.Metrics.Accepted == uint64(n) && m.Metrics.Delivered == uint64(n)
}

func metricsTable(metrics []endpointMetrics) [][]string {
	rows := [][]string{{"ENDPOINT", "STATE", "ACCEPTED", "DELIVERED", "PENDING", "FAILURES", "ERRORS", "ANSWERS"}}
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	for _, e := range metrics {
		m := e.Metrics
		var answers []string
		for _, status := range slices.Sorted(maps.Keys(m.Statuses)) {
			answers = append(answers, fmt.Sprintf("%d x %s", m.Statuses[status], status))
		}
		rows = append(rows, []string{
			e.Name, m.State.Phase, number(m.Accepted), number(m.Delivered), number(m.Pending),
			number(m.Failures), number(m.Errors), strings.Join(answers, ", "),
		})
	}
	return rows
}
