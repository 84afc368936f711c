package outbound

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPolicyDefault(t *testing.T) {
	for _, c := range []struct {
		addr   string
		reason string // a part of it; empty: allowed
	}{
		// Public.
		{"192.0.2.1", ""},
		{"93.184.216.34", ""},
		{"2001:db8::1", ""},
		{"2606:4700::1111", ""},

		// Loopback and private networks: registries call receivers there.
		{"127.0.0.1", ""},
		{"127.255.255.255", ""},
		{"::1", ""},
		{"10.0.0.1", ""},
		{"172.16.0.1", ""},
		{"192.168.1.1", ""},
		{"100.64.0.1", ""},
		{"fc00::1", ""},
		{"fd12:3456:789a::1", ""},
		{"fec0::1", ""},
		{"240.0.0.1", ""},

		// Link-local, and just beside it.
		{"169.254.169.254", "link-local"},
		{"169.254.170.2", "link-local"},
		{"169.254.0.0", "link-local"},
		{"169.254.255.255", "link-local"},
		{"169.253.255.255", ""},
		{"169.255.0.0", ""},
		{"fe80::1", "link-local"},
		{"fe80::a9fe:a9fe", "link-local"},
		{"febf:ffff::1", "link-local"},
		{"fe7f::1", ""},

		// Metadata elsewhere, and just beside it.
		{"fd00:ec2::254", "AWS"},
		{"fd00:ec2::23", "AWS"},
		{"fd00:ec2:ffff:ffff:ffff:ffff:ffff:ffff", "AWS"},
		{"fd00:ec1::254", ""},
		{"fd00:ec3::254", ""},
		{"fd20:ce::254", "Google"},
		{"fd20:ce::253", ""},
		{"fd00:c1::a9fe:a9fe", "Oracle"},
		{"192.0.0.192", "Oracle"},
		{"192.0.0.191", ""},
		{"100.100.100.200", "Alibaba"},
		{"100.100.100.201", ""},
		{"fd00:100::100:200", "Alibaba"},
		{"fd00:a9fe:a9fe::1", "Akamai"},
		{"fd00:42::42", "Scaleway"},
		{"168.63.129.16", "Azure"},
		{"168.63.129.17", ""},

		// No destinations.
		{"0.0.0.0", "this network"},
		{"0.255.255.255", "this network"},
		{"1.0.0.0", ""},
		{"::", "unspecified"},
		{"224.0.0.1", "multicast"},
		{"239.255.255.255", "multicast"},
		{"223.255.255.255", ""},
		{"ff02::1", "multicast"},
		{"ffff::", "multicast"},
		{"255.255.255.255", "broadcast"},
		{"255.255.255.254", ""},

		// Zones.
		{"fe80::1%eth0", "link-local"},
		{"fd00:ec2::254%eth0", "AWS"},
		{"::%lo", "unspecified"},
		{"::ffff:169.254.169.254%eth0", "link-local"},
		{"2002:a9fe:a9fe::1%eth0", "169.254.169.254"},
		{"fd12::1%eth0", ""},

		// IPv4-mapped (RFC 4291, 2.5.5.2).
		{"::ffff:169.254.169.254", "link-local"},
		{"::ffff:100.100.100.200", "Alibaba"},
		{"::ffff:0.0.0.0", "this network"},
		{"::ffff:10.0.0.1", ""},

		// IPv4-compatible (RFC 4291, 2.5.5.1) and -translated (RFC 2765, 2.1).
		{"::169.254.169.254", "it carries 169.254.169.254: link-local"},
		{"::10.0.0.1", ""},
		{"::2", "it carries 0.0.0.2"},
		{"::1:a9fe:a9fe", ""},
		{"::ffff:0:169.254.169.254", "it carries 169.254.169.254"},
		{"::ffff:0:10.0.0.1", ""},

		// NAT64, well-known prefix (RFC 6052).
		{"64:ff9b::169.254.169.254", "it carries 169.254.169.254: link-local"},
		{"64:ff9b::a9fe:a9fe", "it carries 169.254.169.254"},
		{"64:ff9b::168.63.129.16", "Azure"},
		{"64:ff9b::192.0.2.1", ""},
		{"64:ff9b::10.0.0.1", ""},
		{"64:ff9b::1:a9fe:a9fe", ""},

		// NAT64, local-use prefix (RFC 8215): a /96 in it, whichever.
		{"64:ff9b:1::169.254.169.254", "it carries 169.254.169.254"},
		{"64:ff9b:1:fffe::169.254.169.254", "it carries 169.254.169.254"},
		{"64:ff9b:1::192.0.2.1", ""},
		{"64:ff9b:1:fffe::192.0.2.1", ""},
		{"64:ff9b:1:e000::192.0.2.1", ""},
		// The whole /48: two octets, octet 8, two octets (RFC 6052, 2.2).
		{"64:ff9b:1:a9fe:a9:fe00::", "it carries 169.254.169.254"},
		{"64:ff9b:1:a9fe:a9:fe00:0:1", "it carries 169.254.169.254"},
		{"64:ff9b:1:a9fe:a9:feff:1.2.3.4", "it carries 169.254.169.254"},
		{"64:ff9b:1:a9fe:ffa9:fe00::", "it carries 169.254.169.254"},
		{"64:ff9b:1:a9fe:ff00:0:1.2.3.4", "it carries 169.254.0.0"},
		{"64:ff9b:1:c000:2:100:169.254.169.254", "it carries 169.254.169.254"},
		{"64:ff9b:1:c000:2:100::", ""},
		{"64:ff9b:1::", "it carries 0.0.0.0"},
		{"64:ff9b:2::169.254.169.254", ""},

		// 6to4 (RFC 3056).
		{"2002:a9fe:a9fe::", "it carries 169.254.169.254"},
		{"2002:a9fe:a9fe:ffff:1:2:3:4", "it carries 169.254.169.254"},
		{"2002:c000:201::1", ""},
		{"2002:a00:1::1", ""},
		{"2003:a9fe:a9fe::", ""},

		// Teredo (RFC 4380): the server, and the client turned round.
		{"2001:0:a9fe:a9fe:0:1234:3fff:fdfe", "it carries 169.254.169.254"},
		{"2001:0:c000:201:0:1234:5601:5601", "it carries 169.254.169.254"},
		{"2001:0:c000:201:0:1234:3fff:fdfe", ""},
		{"2001:1:a9fe:a9fe::", ""},
	} {
		t.Run(c.addr, func(t *testing.T) {
			addr := netip.MustParseAddr(c.addr)
			everything, err := NewPolicy([]string{"0.0.0.0/0", "::/0"}, nil)
			require.NoError(t, err)
			for _, p := range []*Policy{nil, {}, everything} {
				err := p.Check(addr)
				if c.reason == "" {
					assert.NoError(t, err)
					continue
				}
				var blocked *BlockedError
				require.ErrorAs(t, err, &blocked)
				assert.Equal(t, addr, blocked.Addr)
				assert.Contains(t, blocked.Reason, c.reason)
			}
		})
	}
}

func TestPolicyLists(t *testing.T) {
	for name, c := range map[string]struct {
		allow, deny       string
		allowed, notThese string
	}{
		"deny a network": {
			deny:     "127.0.0.0/8 fd00::/8",
			allowed:  "126.255.255.255 128.0.0.0 ::1 fc00::1",
			notThese: "127.0.0.1 127.255.255.255 fd00::1 ::ffff:127.0.0.1",
		},
		"deny an address": {
			deny:     "10.0.0.1 ::1",
			allowed:  "10.0.0.0 10.0.0.2 ::7f00:1",
			notThese: "10.0.0.1 ::1 ::1%lo",
		},
		"deny a mapped network": {
			deny:     "::ffff:10.0.0.0/104",
			allowed:  "11.0.0.1",
			notThese: "10.1.2.3 ::ffff:10.1.2.3",
		},
		"deny a mapped address": {
			deny:     "::ffff:10.0.0.1",
			allowed:  "10.0.0.2",
			notThese: "10.0.0.1",
		},
		"denied, whatever carries it": {
			deny:    "10.0.0.0/8",
			allowed: "64:ff9b::11.0.0.1 2002:b00:1::",
			notThese: "64:ff9b::10.0.0.1 64:ff9b:1::10.0.0.1 64:ff9b:1:a00:0:100:: 2002:a00:1:: ::10.0.0.1 " +
				"::ffff:0:10.0.0.1 2001:0:a00:1:0:1234:3fff:fdfe 2001:0:c000:201:0:1234:f5ff:fffe",
		},
		"deny what carries": {
			deny:     "64:ff9b::/96",
			allowed:  "192.0.2.1",
			notThese: "64:ff9b::192.0.2.1",
		},
		"deny one family": {
			deny:     "::/0",
			allowed:  "192.0.2.1 127.0.0.1 ::ffff:10.0.0.1",
			notThese: "::1 2001:db8::1",
		},
		"allow networks": {
			allow:    "10.0.0.0/8 2001:db8::/32",
			allowed:  "10.0.0.0 10.255.255.255 ::ffff:10.1.1.1 2001:db8::1",
			notThese: "9.255.255.255 11.0.0.0 127.0.0.1 ::1 2001:db9::1",
		},
		"allow an address": {
			allow:    "192.0.2.1",
			allowed:  "192.0.2.1",
			notThese: "192.0.2.0 192.0.2.2",
		},
		"deny wins": {
			allow:    "10.0.0.0/8 192.0.2.1",
			deny:     "10.1.0.0/16 192.0.2.0/24",
			allowed:  "10.0.0.1 10.2.0.0",
			notThese: "10.1.0.1 192.0.2.1",
		},
		"nothing makes up for the refusals": {
			allow:    "169.254.169.254 169.254.0.0/16 fd00:ec2::254 fe80::/10 64:ff9b::/96 0.0.0.0/0",
			allowed:  "64:ff9b::192.0.2.1 192.0.2.1",
			notThese: "169.254.169.254 fd00:ec2::254 fe80::1 64:ff9b::169.254.169.254 0.0.0.0",
		},
		"NAT64 takes two entries": {
			allow:    "64:ff9b::/96 64:ff9b:1::/48 192.0.2.0/24",
			allowed:  "64:ff9b::192.0.2.1 64:ff9b:1:fffe::192.0.2.1 64:ff9b:1:c000:2:100:: 192.0.2.1",
			notThese: "64:ff9b::192.0.3.1 64:ff9b:1:fffe::192.0.3.1 64:ff9b:1:c000:3:100::",
		},
		"the network alone does not do for its NAT64": {
			allow:    "192.0.2.0/24",
			allowed:  "192.0.2.1",
			notThese: "64:ff9b::192.0.2.1 2002:c000:201::1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := NewPolicy(strings.Fields(c.allow), strings.Fields(c.deny))
			require.NoError(t, err)
			for _, addr := range strings.Fields(c.allowed) {
				assert.NoError(t, p.Check(netip.MustParseAddr(addr)), addr)
			}
			for _, addr := range strings.Fields(c.notThese) {
				var blocked *BlockedError
				assert.ErrorAs(t, p.Check(netip.MustParseAddr(addr)), &blocked, addr)
			}
		})
	}
}

func TestPolicyReasons(t *testing.T) {
	p, err := NewPolicy([]string{"10.0.0.0/8"}, []string{"192.0.2.1", "10.1.0.0/16"})
	require.NoError(t, err)
	for addr, want := range map[string]string{
		"10.1.2.3":         "address 10.1.2.3 refused: denied by deny[1], 10.1.0.0/16",
		"::ffff:192.0.2.1": "address ::ffff:192.0.2.1 refused: denied by deny[0], 192.0.2.1/32",
		"192.0.2.2":        "address 192.0.2.2 refused: not in allow",
		"169.254.169.254":  "address 169.254.169.254 refused: link-local, with the cloud metadata in it (RFC 3927)",
		"2002:a9fe:1::":    "address 2002:a9fe:1:: refused: it carries 169.254.0.1: link-local, with the cloud metadata in it (RFC 3927)",
	} {
		// 6to4 has to get past the allow list to be looked into.
		if strings.HasPrefix(addr, "2002:") {
			assert.EqualError(t, (*Policy)(nil).Check(netip.MustParseAddr(addr)), want)
			continue
		}
		assert.EqualError(t, p.Check(netip.MustParseAddr(addr)), want)
	}
}

func TestNewPolicyErrors(t *testing.T) {
	for _, c := range []struct {
		text, want string
	}{
		{"", `"": allowed is an address`},
		{"localhost", `"localhost": allowed is an address`},
		{"10.0.0.0/33", `"10.0.0.0/33": allowed is an address`},
		{"10.0.0.0/-1", `allowed is`},
		{"10.0.0.0/08", `allowed is`},
		{"10.0.0/8", `allowed is`},
		{"010.0.0.1", `allowed is`},
		{" 10.0.0.1", `allowed is`},
		{"10.0.0.1:80", `allowed is`},
		{"[::1]", `allowed is`},
		{"fe80::1%eth0", `"fe80::1%eth0": has a zone: allowed is fe80::1`},
		{"fe80::%eth0/64", `allowed is`},
		{"10.1.2.3/8", `"10.1.2.3/8": has bits set behind the prefix: allowed is 10.0.0.0/8, or 10.1.2.3 alone`},
		{"2001:db8::1/32", `allowed is 2001:db8::/32, or 2001:db8::1 alone`},
		{"::ffff:10.1.2.3/104", `allowed is 10.0.0.0/8, or 10.1.2.3 alone`},
		{"::ffff:0:0/95", `is neither IPv4 nor IPv6`},
		{strings.Repeat("1", 5000), `111": allowed is`},
	} {
		for _, list := range []string{"allow", "deny"} {
			lists := map[string][]string{list: {"192.0.2.1", c.text}}
			p, err := NewPolicy(lists["allow"], lists["deny"])
			assert.Nil(t, p)
			var field *FieldError
			require.ErrorAs(t, err, &field, c.text)
			assert.Equal(t, list+"[1]", field.Field)
			assert.ErrorContains(t, err, c.want)
			assert.True(t, strings.HasPrefix(err.Error(), list+"[1]: "), err)
			assert.Less(t, len(err.Error()), 300)
		}
	}
}

// TestControlContextFailsClosed: what is not an address is not called.
func TestControlContextFailsClosed(t *testing.T) {
	for _, address := range []string{"", ":80", "/run/docker.sock", "name.test:80", "127.0.0.1", "169.254.169.254:80", "[fe80::1%eth0]:80"} {
		var blocked *BlockedError
		assert.ErrorAs(t, (*Policy)(nil).ControlContext(context.Background(), "tcp", address, nil), &blocked, address)
	}
	assert.NoError(t, (*Policy)(nil).ControlContext(context.Background(), "tcp4", "127.0.0.1:80", nil))
	assert.NoError(t, (*Policy)(nil).ControlContext(context.Background(), "tcp6", "[::1]:80", nil))
}

func TestFieldErrorUnwraps(t *testing.T) {
	cause := errors.New("cause")
	assert.ErrorIs(t, &FieldError{Field: "f", Err: cause}, cause)
}
