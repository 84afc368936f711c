package outbound

import "net/netip"

// never is what no webhook is sent to, whatever the lists say: no receiver is there,
// and what is there takes a request from this machine as the machine's own.
//
// Loopback and the private networks (RFC 1918, 4193, 6598) are not here: registries
// rightly call receivers in them.
var never = []struct {
	network netip.Prefix
	reason  string
}{
	// Where the clouds' machines ask who they are and get their credentials. Most do
	// it at link-local addresses, below. AWS mirrors these in a block of its own: the
	// instance's metadata at ::254, the pods' credentials at ::23.
	{netip.MustParsePrefix("fd00:ec2::/32"), "cloud metadata (AWS)"},
	{netip.MustParsePrefix("fd20:ce::254/128"), "cloud metadata (Google Cloud)"},
	{netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), "cloud metadata (Oracle Cloud)"},
	{netip.MustParsePrefix("192.0.0.192/32"), "cloud metadata (Oracle Cloud Classic)"},
	{netip.MustParsePrefix("100.100.100.200/32"), "cloud metadata (Alibaba Cloud)"},
	{netip.MustParsePrefix("fd00:100::100:200/128"), "cloud metadata (Alibaba Cloud)"},
	{netip.MustParsePrefix("fd00:a9fe:a9fe::1/128"), "cloud metadata (Akamai)"},
	{netip.MustParsePrefix("fd00:42::42/128"), "cloud metadata (Scaleway)"},
	// A public address, but within Azure it is the host, which hands out the
	// machine's certificates and secrets.
	{netip.MustParsePrefix("168.63.129.16/32"), "cloud metadata (Azure)"},

	{netip.MustParsePrefix("169.254.0.0/16"), "link-local, with the cloud metadata in it (RFC 3927)"},
	{netip.MustParsePrefix("fe80::/10"), "link-local (RFC 4291, 2.5.6)"},
	// A kernel takes the unspecified address for its own machine.
	{netip.MustParsePrefix("0.0.0.0/8"), "this network, not a destination (RFC 6890, 2.2.2)"},
	{netip.MustParsePrefix("::/128"), "unspecified (RFC 4291, 2.5.2)"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast (RFC 5771)"},
	{netip.MustParsePrefix("ff00::/8"), "multicast (RFC 4291, 2.7)"},
	{netip.MustParsePrefix("255.255.255.255/32"), "limited broadcast (RFC 919)"},
}

// The networks whose addresses carry IPv4 addresses.
var (
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291, 2.5.5.1
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765, 2.1
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052, 2.1
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056, 2
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380, 4
)

// embedded returns the IPv4 addresses that an unmapped address carries: something on
// the way may unwrap it and go there.
func embedded(addr netip.Addr) []netip.Addr {
	if addr.Is4() {
		return nil
	}
	b := addr.As16()
	last := v4(b[12], b[13], b[14], b[15])
	switch {
	case addr == netip.IPv6Loopback():
		return nil // by its form it is compatible, by RFC 4291 it is not
	case compatible.Contains(addr), translated.Contains(addr), nat64.Contains(addr):
		return []netip.Addr{last}
	case nat64Local.Contains(addr):
		return embeddedLocal(b, last)
	case sixToFour.Contains(addr):
		return []netip.Addr{v4(b[2], b[3], b[4], b[5])}
	case teredo.Contains(addr):
		// The server, and the client, each bit of which is turned round.
		return []netip.Addr{v4(b[4], b[5], b[6], b[7]), v4(^b[12], ^b[13], ^b[14], ^b[15])}
	}
	return nil
}

// embeddedLocal reads an address of the local-use NAT64 network. Who runs the
// translator decides whether the prefix is all of its /48, where the IPv4 address is
// on both sides of the octet 8 (RFC 6052, 2.2), or a /96 in it. What may be either is
// judged as both: a translator does not look at the octets behind the IPv4 address,
// so they can be made to look like anything.
func embeddedLocal(b [16]byte, last netip.Addr) []netip.Addr {
	split := v4(b[6], b[7], b[9], b[10])
	switch {
	case last.IsUnspecified():
		return []netip.Addr{split}
	case b[8]|b[9]|b[10]|b[11] == 0:
		return []netip.Addr{last} // the zeros are those in front of a /96's address
	}
	return []netip.Addr{split, last}
}

func v4(a, b, c, d byte) netip.Addr { return netip.AddrFrom4([4]byte{a, b, c, d}) }
