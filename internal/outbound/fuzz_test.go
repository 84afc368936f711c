package outbound

import (
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

// oracle judges by the digits of an address where Policy goes by its prefixes.
func oracle(addr string) bool {
	if len(addr) == 32 && strings.HasPrefix(addr, "00000000000000000000ffff") {
		addr = addr[24:]
	}
	if len(addr) == 8 {
		return oracle4(addr)
	}
	switch {
	case addr == "00000000000000000000000000000001":
		return true
	case addr == "00000000000000000000000000000000",
		addr[:2] == "ff",
		addr[:2] == "fe" && strings.Contains("89ab", addr[2:3]),
		addr[:8] == "fd000ec2",
		addr == "fd2000ce000000000000000000000254",
		addr == "fd0000c10000000000000000a9fea9fe",
		addr == "fd000100000000000000000001000200",
		addr == "fd00a9fea9fe00000000000000000001",
		addr == "fd000042000000000000000000000042":
		return false
	case addr[:24] == "000000000000000000000000",
		addr[:24] == "0000000000000000ffff0000",
		addr[:24] == "0064ff9b0000000000000000":
		return oracle4(addr[24:])
	case addr[:12] == "0064ff9b0001":
		split, last := addr[12:16]+addr[18:22], addr[24:]
		if last == "00000000" {
			return oracle4(split)
		}
		return oracle4(last) && (addr[16:24] == "00000000" || oracle4(split))
	case addr[:4] == "2002":
		return oracle4(addr[4:12])
	case addr[:8] == "20010000":
		var client strings.Builder
		for _, digit := range addr[24:] {
			client.WriteByte("fedcba9876543210"[strings.IndexRune("0123456789abcdef", digit)])
		}
		return oracle4(addr[8:16]) && oracle4(client.String())
	}
	return true
}

func oracle4(addr string) bool {
	return addr[:2] != "00" && addr[:1] != "e" && addr[:4] != "a9fe" && addr != "ffffffff" &&
		addr != "646464c8" && addr != "c00000c0" && addr != "a83f8110"
}

func FuzzPolicyAddress(f *testing.F) {
	for _, addr := range []string{
		"169.254.169.254", "127.0.0.1", "::1", "::", "::ffff:169.254.169.254", "fd00:ec2::254", "64:ff9b::a9fe:a9fe",
		"64:ff9b:1:a9fe:a9:fe00::", "2002:a9fe:a9fe::", "2001:0:c000:201:0:1234:5601:5601", "255.255.255.255",
	} {
		f.Add(netip.MustParseAddr(addr).AsSlice())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		addr, ok := netip.AddrFromSlice(b)
		err := (*Policy)(nil).Check(addr)
		if !ok {
			if err == nil {
				t.Fatalf("%x is not an address, and is allowed", b)
			}
			return
		}
		want := oracle(hex.EncodeToString(b))
		if (err == nil) != want {
			t.Fatalf("%v: %v, want allowed: %v", addr, err, want)
		}
		if blocked := (*BlockedError)(nil); err != nil && (!errors.As(err, &blocked) || blocked.Addr != addr || blocked.Reason == "") {
			t.Fatalf("%v: %#v", addr, err)
		}

		check := func(what string, p *Policy, a netip.Addr, want bool) {
			if err := p.Check(a); (err == nil) != want {
				t.Fatalf("%s of %v: %v: %v, want allowed: %v", what, addr, a, err, want)
			}
		}
		check("a zone", nil, addr.WithZone("eth0"), want)
		if v4 := addr.Unmap(); v4.Is4() {
			a := v4.As4()
			check("the mapped form", nil, netip.AddrFrom16(v4.As16()), want)
			check("the NAT64 form", nil, netip.AddrFrom16([16]byte{0, 0x64, 0xff, 0x9b, 12: a[0], a[1], a[2], a[3]}), want)
			check("the 6to4 form", nil, netip.AddrFrom16([16]byte{0x20, 2, a[0], a[1], a[2], a[3], 15: 1}), want)
		}

		itself := []string{addr.String()}
		everything := []string{"0.0.0.0/0", "::/0"}
		denied, err := NewPolicy(everything, itself)
		if err != nil {
			t.Fatal(err)
		}
		check("the denial", denied, addr, false)
		allowed, err := NewPolicy(everything, nil)
		if err != nil {
			t.Fatal(err)
		}
		check("the allowance", allowed, addr, want)
		alone, err := NewPolicy(itself, nil)
		if err != nil {
			t.Fatal(err)
		}
		check("the list of one", alone, addr, want && embedded(addr.Unmap()) == nil)
		check("another than the list of one", alone, addr.Next(), false)
	})
}

func FuzzNewPolicy(f *testing.F) {
	f.Add("10.0.0.0/8\n192.0.2.1", "::/0")
	f.Add("10.1.2.3/8", "")
	f.Add("::ffff:10.0.0.0/104", "fe80::1%eth0")
	f.Add("", "169.254.0.0/16\nlocalhost")
	f.Fuzz(func(t *testing.T, allow, deny string) {
		lists := map[string][]string{}
		for name, text := range map[string]string{"allow": allow, "deny": deny} {
			if text != "" {
				lists[name] = strings.Split(text, "\n")
			}
		}
		p, err := NewPolicy(lists["allow"], lists["deny"])
		if err != nil {
			var field *FieldError
			if p != nil || !errors.As(err, &field) {
				t.Fatalf("%v, %#v", p, err)
			}
			name, index, _ := strings.Cut(strings.TrimSuffix(field.Field, "]"), "[")
			if i, err := strconv.Atoi(index); err != nil || i >= len(lists[name]) {
				t.Fatalf("no such field: %v", field.Field)
			}
			return
		}
		for name, list := range lists {
			for _, text := range list {
				first := net.ParseIP(text)
				if first == nil {
					var network *net.IPNet
					if first, network, err = net.ParseCIDR(text); err != nil || !network.IP.Equal(first) {
						t.Fatalf("%s: %q was taken", name, text)
					}
				}
				addr, _ := netip.AddrFromSlice(first)
				if name == "deny" && p.Check(addr) == nil {
					t.Fatalf("%v is allowed, and %q denies it", addr, text)
				}
			}
		}
	})
}
