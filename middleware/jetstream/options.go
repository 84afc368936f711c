package jetstream

import (
	"errors"
	"fmt"
	"time"

	stream "github.com/nats-io/nats.go/jetstream"
	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/jetstream"
	"github.com/registry-notifications/notifications/journal"
)

// options are those of a connection and of a jetstream.Config, and mean the same.
type options struct {
	Servers     []string   `yaml:"servers"`
	User        string     `yaml:"user"`
	Password    string     `yaml:"password"`
	Token       string     `yaml:"token"`
	Credentials string     `yaml:"credentials"`
	NKey        string     `yaml:"nkey"`
	TLS         tlsOptions `yaml:"tls"`

	Stream     string        `yaml:"stream"`
	Subject    string        `yaml:"subject"`
	Partitions int           `yaml:"partitions"`
	Replicas   int           `yaml:"replicas"`
	Storage    string        `yaml:"storage"`
	MaxAge     time.Duration `yaml:"maxage"`
	MaxBytes   int64         `yaml:"maxbytes"`
	Duplicates time.Duration `yaml:"duplicates"`
	Window     int           `yaml:"window"`
	Queued     bool          `yaml:"queued"`
	Spill      spillOptions  `yaml:"spill"`
	Timeout    time.Duration `yaml:"timeout"`
	Lease      time.Duration `yaml:"lease"`
	Instance   string        `yaml:"instance"`
	Backoff    time.Duration `yaml:"backoff"`
	MaxBackoff time.Duration `yaml:"maxbackoff"`
}

// tlsOptions are paths of PEM files.
type tlsOptions struct {
	CAFile   string `yaml:"cafile"`
	CertFile string `yaml:"certfile"`
	KeyFile  string `yaml:"keyfile"`
}

// spillOptions are those of a jetstream.Spill.
type spillOptions struct {
	Dir      string       `yaml:"dir"`
	Sync     journal.Sync `yaml:"sync"`
	MaxBytes int64        `yaml:"maxbytes"`
}

func (o *options) config(logger *logrus.Entry) (jetstream.Config, error) {
	c := jetstream.Config{
		Stream: o.Stream, Subject: o.Subject,
		Partitions: o.Partitions, Replicas: o.Replicas,
		MaxAge: o.MaxAge, MaxBytes: o.MaxBytes, Duplicates: o.Duplicates,
		Window: o.Window, Queued: o.Queued, Spill: jetstream.Spill(o.Spill),
		Timeout: o.Timeout, Lease: o.Lease, Instance: o.Instance,
		Hub:    notifications.HubConfig{Backoff: o.Backoff, MaxBackoff: o.MaxBackoff},
		Logger: logger,
	}
	switch o.Storage {
	case "", "file":
		c.Storage = stream.FileStorage
	case "memory":
		c.Storage = stream.MemoryStorage
	default:
		return c, wrong("storage", "%.*q: allowed are file and memory", mostShown, o.Storage)
	}
	if o.Spill.Dir == "" && o.Spill != (spillOptions{}) {
		return c, wrong("spill.dir", "empty: allowed is the path of a directory")
	}
	return c, nil
}

// mostShown is how many characters of a value an error shows.
const mostShown = 100

func wrong(field, format string, args ...any) error {
	return &notifications.ConfigError{Field: field, Err: fmt.Errorf(format, args...)}
}

// ofOption has an error of jetstream.Open name the option that it comes from.
func (o *options) ofOption(err error) error {
	var setting *jetstream.SettingError
	if errors.As(err, &setting) {
		return &notifications.ConfigError{Field: ofSetting(setting.Setting), Err: err}
	}
	return err
}

func ofSetting(name string) string {
	switch name {
	case "partitions", "replicas", "storage", "maxage", "maxbytes", "duplicates", "lease":
		return name
	case "subjects":
		return "subject"
	}
	return "stream" // of that name there is one that is no good
}
