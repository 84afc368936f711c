module github.com/registry-notifications/notifications

go 1.26.0

require (
	github.com/distribution/distribution/v3 v3.1.2
	github.com/google/uuid v1.6.0
	github.com/opencontainers/go-digest v1.0.0
	github.com/opencontainers/image-spec v1.1.1
	github.com/sirupsen/logrus v1.10.2
	github.com/stretchr/testify v1.12.1
	go.uber.org/goleak v1.3.0
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect

require (
	github.com/distribution/reference v0.6.0
	golang.org/x/sys v0.48.0 // indirect
)
