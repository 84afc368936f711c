package outbound

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
)

// BlockedError is a connection that was not made because of where it would have
// gone. errors.As finds it in what net and net/http return.
type BlockedError struct {
	// Addr is the address, invalid if there was none.
	Addr netip.Addr
	// Reason says which rule refused it.
	Reason string
}

func (e *BlockedError) Error() string {
	return fmt.Sprintf("address %v refused: %s", e.Addr, e.Reason)
}

// Policy says which addresses may be called. Nil and the zero value allow whatever
// is not always refused. It does not change; all may use it at once.
//
// An address that carries others (see embedded) is judged together with them: each
// has to pass. Behind a NAT64 an allow list therefore needs two entries, the
// translator's prefix and the receiver's own network.
type Policy struct {
	allow, deny []netip.Prefix
}

// NewPolicy returns a policy by the operator's lists of networks in CIDR notation;
// an address stands for itself alone. Denied is refused. With an allow list, what is
// not in it is refused. No list makes up for what is always refused. IPv4 and IPv6
// are apart: 0.0.0.0/0 is all of the one, ::/0 all of the other.
//
// The error is a *FieldError for "allow[i]" or "deny[i]".
func NewPolicy(allow, deny []string) (*Policy, error) {
	var (
		p   Policy
		err error
	)
	if p.allow, err = parseNetworks("allow", allow); err != nil {
		return nil, err
	}
	if p.deny, err = parseNetworks("deny", deny); err != nil {
		return nil, err
	}
	return &p, nil
}

func parseNetworks(field string, texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for i, text := range texts {
		network, err := parseNetwork(text)
		if err != nil {
			return nil, &FieldError{Field: field + "[" + strconv.Itoa(i) + "]", Err: err}
		}
		out = append(out, network)
	}
	return out, nil
}

func parseNetwork(text string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(text)
	if !strings.Contains(text, "/") {
		var addr netip.Addr
		if addr, err = netip.ParseAddr(text); err == nil {
			if addr.Zone() != "" {
				return netip.Prefix{}, fmt.Errorf("%.100q: has a zone: allowed is %v", text, addr.WithZone(""))
			}
			network = netip.PrefixFrom(addr, addr.BitLen())
		}
	}
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%.100q: allowed is an address, as 192.0.2.1, or a network, as 192.0.2.0/24 or 2001:db8::/32", text)
	}

	// Addresses are judged unmapped: a mapped network would never match.
	if addr := network.Addr(); addr.Is4In6() {
		if network.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("%.100q: is neither IPv4 nor IPv6: allowed is /96 and longer, or the IPv4 network itself", text)
		}
		network = netip.PrefixFrom(addr.Unmap(), network.Bits()-96)
	}
	// 10.1.2.3/8 could be meant as either, and one of them allows 16 million more.
	if network != network.Masked() {
		return netip.Prefix{}, fmt.Errorf("%.100q: has bits set behind the prefix: allowed is %v, or %v alone", text, network.Masked(), network.Addr())
	}
	return network, nil
}

// Check returns nil or a *BlockedError. A zone changes nothing.
func (p *Policy) Check(addr netip.Addr) error {
	if !addr.IsValid() {
		return &BlockedError{Reason: "it is not an IP address"}
	}
	outer := addr.Unmap().WithZone("")
	if reason := p.refusal(outer); reason != "" {
		return &BlockedError{Addr: addr, Reason: reason}
	}
	for _, inner := range embedded(outer) {
		if reason := p.refusal(inner); reason != "" {
			return &BlockedError{Addr: addr, Reason: fmt.Sprintf("it carries %v: %s", inner, reason)}
		}
	}
	return nil
}

func (p *Policy) refusal(addr netip.Addr) string {
	for _, n := range never {
		if n.network.Contains(addr) {
			return n.reason
		}
	}
	if p == nil {
		return ""
	}
	for i, network := range p.deny {
		if network.Contains(addr) {
			return fmt.Sprintf("denied by deny[%d], %v", i, network)
		}
	}
	if len(p.allow) == 0 {
		return ""
	}
	for _, network := range p.allow {
		if network.Contains(addr) {
			return ""
		}
	}
	return "not in allow"
}

// ControlContext is for net.Dialer, which calls it with the address of each
// connection, after DNS and before the first packet.
func (p *Policy) ControlContext(_ context.Context, _, address string, _ syscall.RawConn) error {
	// What does not parse, as the path of a Unix socket, is refused as the invalid
	// address that it then is.
	target, _ := netip.ParseAddrPort(address)
	return p.Check(target.Addr())
}
