package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/registry-notifications/notifications"
)

// workerHeader is where a worker says to the webhook who it is.
const workerHeader = "X-Worker"

// worker is an instance that delivers to the webhook. All of them have a sink of the same
// name, and share its work.
type worker struct {
	*instance
	killed *notifications.Metrics // what it had counted
}

func startWorker(i *instance, url string) (*worker, error) {
	endpoint, err := notifications.NewEndpoint("webhook", url, notifications.EndpointConfig{
		Headers: http.Header{workerHeader: {i.name}},
		Backoff: 100 * time.Millisecond, MaxBackoff: time.Second,
	})
	if err != nil {
		return nil, err
	}
	if err := i.hub.Add(endpoint.Name(), endpoint); err != nil {
		return nil, errors.Join(err, endpoint.Close(context.Background()))
	}
	return &worker{instance: i}, nil
}

func (w *worker) metrics() notifications.Metrics {
	if w.killed != nil {
		return *w.killed
	}
	return w.hub.Metrics()["webhook"]
}

func (w *worker) kill() {
	m := w.hub.Hub.Metrics()["webhook"] // without asking the servers
	w.killed = &m
	w.instance.kill()
}
