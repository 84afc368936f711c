package middleware

import (
	"maps"
	"slices"
	"time"

	"github.com/registry-notifications/notifications"
)

// root is where the options stand in the server's YAML.
const root = "middleware.registry." + name

// defaultDrainTimeout is what draintimeout is where it is zero or not there.
const defaultDrainTimeout = 10 * time.Second

// options are what an operator can set, with the defaults filled in.
type options struct {
	Endpoints []notifications.EndpointConfig `yaml:"endpoints"`
	Events    struct {
		IncludeReferences bool `yaml:"includereferences"`
	} `yaml:"events"`
	URL             string            `yaml:"url"`
	Addr            string            `yaml:"addr"`
	CountHEAD       bool              `yaml:"counthead"`
	DispatchTimeout time.Duration     `yaml:"dispatchtimeout"`
	DrainTimeout    time.Duration     `yaml:"draintimeout"`
	TrustedProxies  int               `yaml:"trustedproxies"`
	TrustBasicUser  bool              `yaml:"trustbasicuser"`
	PullThrough     bool              `yaml:"pullthrough"`
	DeadLetters     deadLetterOptions `yaml:"deadletters"`

	// Hub is the name of one, and hubBlock what stands under that name: only the hub knows
	// what it means.
	Hub      string `yaml:"hub"`
	hubBlock any
}

// parse reads the options. An error names the option by its path.
func (d *document) parse(values map[string]any) (*options, error) {
	own, blocks := maps.Clone(values), make(map[string]any)
	names := hubs.names()
	for _, hub := range names {
		if block := own[hub]; block != nil {
			blocks[hub] = block
		}
		delete(own, hub)
	}
	o := &options{Hub: memoryHub, Addr: ":5000"}
	if err := d.decode(root, own, o, names...); err != nil {
		return nil, err
	}
	if o.DrainTimeout < 0 {
		return nil, wrong(root+".draintimeout", "%v: allowed are zero, for the default, and above", o.DrainTimeout)
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = defaultDrainTimeout
	}

	o.hubBlock = blocks[o.Hub]
	delete(blocks, o.Hub)
	if others := slices.Sorted(maps.Keys(blocks)); len(others) > 0 {
		return nil, wrong(root+"."+others[0], "is for hub: %s, and hub is %.*q: allowed are the options of that one", others[0], mostShown, o.Hub)
	}
	for _, check := range []func() error{o.checkEndpoints, o.checkJournal, o.checkBounds} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// checkEndpoints looks at the names, which everything else goes by. A disabled endpoint is
// as good as none.
func (o *options) checkEndpoints() error {
	var used []string
	for i, e := range o.Endpoints {
		switch {
		case e.Disabled:
		case e.Name == "":
			return wrong(endpointPath(i)+".name", "empty: allowed is any other")
		case slices.Contains(used, e.Name):
			return wrong(endpointPath(i)+".name", "%.*q: is in use: allowed is any other", mostShown, e.Name)
		default:
			used = append(used, e.Name)
		}
	}
	return nil
}

// checkBounds refuses what bounds events in memory where none are, and would be ignored.
func (o *options) checkBounds() error {
	if !hubs.has(o.Hub, Durable) {
		return nil
	}
	for i, e := range o.Endpoints {
		for _, option := range []struct {
			name string
			set  bool
		}{
			{"maxpending", e.MaxPending != 0},
			{"maxpendingbytes", e.MaxPendingBytes != 0},
			{"overflow", e.Overflow != ""},
		} {
			if option.set {
				return wrong(endpointPath(i)+"."+option.name, "is for what is in memory, and hub is %q: allowed are the bounds of that one", o.Hub)
			}
		}
	}
	return nil
}

// enabled returns the names of the endpoints that are to run.
func (o *options) enabled() (names []string) {
	for _, e := range o.Endpoints {
		if !e.Disabled {
			names = append(names, e.Name)
		}
	}
	return names
}

// includeReferences says whether events have references: an endpoint for images promises
// them.
func (o *options) includeReferences() bool {
	return o.Events.IncludeReferences || slices.ContainsFunc(o.Endpoints, func(e notifications.EndpointConfig) bool {
		return e.Images && !e.Disabled
	})
}

func (o *options) bridge() (config notifications.BridgeConfig, err error) {
	config = notifications.BridgeConfig{
		IncludeReferences: o.includeReferences(),
		DispatchTimeout:   o.DispatchTimeout,
		TrustedProxies:    o.TrustedProxies,
		TrustBasicUser:    o.TrustBasicUser,
		CountHEAD:         o.CountHEAD,
	}
	if config.Source, err = notifications.NewSource(o.Addr); err != nil {
		return config, at(root, err)
	}
	if o.URL != "" {
		if config.URLs, err = notifications.NewURLBuilder(o.URL); err != nil {
			return config, at(root, err)
		}
	}
	return config, nil
}
