package middleware

import (
	"errors"

	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications"
)

// deadLetterOptions are those of a notifications.DeadLetterFileConfig, and mean the same.
type deadLetterOptions struct {
	File     string `yaml:"file"`
	MaxBytes int64  `yaml:"maxbytes"`
	MaxFiles int    `yaml:"maxfiles"`
}

// open opens the file, if there is to be one. Whoever puts letters there is closed first.
func (o deadLetterOptions) open(logger *logrus.Entry) (*notifications.DeadLetterFile, error) {
	const path = root + ".deadletters"
	if o == (deadLetterOptions{}) {
		return nil, nil
	}
	if o.File == "" {
		return nil, wrong(path+".file", "empty: allowed is the path of a file")
	}
	f, err := notifications.OpenDeadLetterFile(o.File, notifications.DeadLetterFileConfig{
		MaxBytes: o.MaxBytes, MaxFiles: o.MaxFiles, Logger: logger,
	})
	if config := (*notifications.ConfigError)(nil); err != nil && !errors.As(err, &config) {
		return nil, at(path+".file", err)
	}
	if err != nil {
		return nil, at(path, err)
	}
	return f, nil
}
