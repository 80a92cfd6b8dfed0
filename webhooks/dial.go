package webhooks

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tenantry/tenantry/record"
)

// patience is how long one attempt may take, from resolving the name to the answer's headers.
const patience = 15 * time.Second

// prompt is how soon a receiver answers whose tenant's deliveries wait for nobody: others' are made one at a time.
const prompt = time.Second

// maxURL bounds a webhook's address, in bytes.
const maxURL = 2048

// newClient returns a client that reaches public addresses and those that are allowed, and nothing else. Each request has a connection of its
// own: what was dialled for one tenant carries no other's.
func newClient(opts Options) *http.Client {
	dialer := &net.Dialer{Timeout: patience, Control: func(_, address string, _ syscall.RawConn) error {
		return checkDial(address, opts.Allow, ownAddresses)
	}}
	return &http.Client{
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 16 << 10,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: opts.Roots},
		},
	}
}

var errRefused = errors.New("the address is not one that webhooks may reach")

// checkDial refuses an address that is about to be dialled, "192.0.2.1:443", unless it is public and not one of this host's, or is allowed.
func checkDial(address string, allow []netip.Prefix, own func() ([]netip.Addr, error)) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return errRefused
	}
	addr := to.Addr().Unmap()
	for _, p := range allow {
		if p.Contains(addr) {
			return nil
		}
	}
	if to.Addr().Is4In6() || !public(addr) {
		return errRefused
	}
	ours, err := own()
	if err != nil {
		return err
	}
	for _, a := range ours {
		if a == addr {
			return errRefused
		}
	}
	return nil
}

// ownAddresses returns the addresses of this host's interfaces.
func ownAddresses() (own []netip.Addr, err error) {
	found, err := net.InterfaceAddrs()
	for _, f := range found {
		if p, err := netip.ParsePrefix(f.String()); err == nil {
			own = append(own, p.Addr().Unmap())
		}
	}
	return own, err
}

// special are the networks of the IANA special-purpose registries that stand within what is else public: private, shared (CGNAT), loopback,
// link-local, documentation, benchmarking, multicast, reserved and broadcast; and what carries other addresses inside: Teredo and 6to4.
var special = prefixes("0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 " +
	"192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 " +
	"2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20")

// global is where public IPv6 addresses are: mapped and compatible ones, NAT64, unique local, link-local, site-local and multicast are outside.
var global = netip.MustParsePrefix("2000::/3")

func prefixes(text string) (all []netip.Prefix) {
	for p := range strings.FieldsSeq(text) {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// public reports whether anybody on the internet would reach an address, and reach the same.
func public(addr netip.Addr) bool {
	if addr.Zone() != "" || addr.Is6() && !global.Contains(addr) {
		return false
	}
	for _, p := range special {
		if p.Contains(addr) {
			return false
		}
	}
	return true
}

// checkURL returns what is wrong with a webhook's address, "" for a good one. Where its name leads is checked when it is dialled.
func checkURL(text string, allow []netip.Prefix) string {
	if len(text) > maxURL || record.CheckText(text, maxURL) != nil {
		return "is at most 2048 printable characters"
	}
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || u.Host == "" {
		return "is an address, as https://hooks.example/tenantry"
	}
	port, err := strconv.Atoi(u.Port())
	switch {
	case u.Scheme != "https":
		return "begins with https://"
	case u.User != nil:
		return "has no user and password; receivers know a delivery by its signature"
	case strings.Contains(text, "#"):
		return "has no fragment"
	case u.Port() == "" && strings.HasSuffix(u.Host, ":"), u.Port() != "" && (err != nil || port != 443 && port < 1024 || port > 65535):
		return "has the port 443, or one from 1024 to 65535"
	}
	return checkHost(u.Hostname(), allow)
}

func checkHost(host string, allow []netip.Prefix) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		if checkDial(netip.AddrPortFrom(addr, 443).String(), allow, func() ([]netip.Addr, error) { return nil, nil }) != nil {
			return "names an address that is not public"
		}
		return ""
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	last := labels[len(labels)-1]
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(strings.ToLower(last), "0x") {
		return "has a host that is a name, or an address in its usual form" // what some resolvers read as an address: 2130706433, 0x7f.1, 127.1
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "has a host that is a name in ASCII, as hooks.example"
		}
	}
	return ""
}

// problemOf says why an attempt got no answer, in words that tell nothing of what is behind an address.
func problemOf(ctx context.Context, err error) string {
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		return "the certificate is not one that is trusted for this name"
	case errors.Is(err, context.DeadlineExceeded), ctx.Err() != nil, isTimeout(err):
		return "no answer in time"
	}
	return "no connection: the name is not known, nobody answers there, or the address is not one that webhooks may reach"
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
