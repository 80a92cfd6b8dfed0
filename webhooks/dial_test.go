package webhooks

import (
	"net/http"
	"net/netip"
	"testing"
)

func TestAddressesThatAreRefused(t *testing.T) {
	own := func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("93.184.216.9")}, nil }
	allow := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/32")}
	for address, want := range map[string]bool{
		"93.184.216.34:443":         true,
		"[2606:2800:220:1::1]:8443": true,
		"10.1.2.3:443":              true, // allowed
		"[::ffff:10.1.2.3]:443":     true,
		"[fd00:1::9]:443":           true,

		"93.184.216.9:443":           false, // this host's own
		"10.2.2.3:443":               false, // private
		"172.16.0.1:443":             false,
		"172.31.255.255:443":         false,
		"192.168.1.1:443":            false,
		"127.0.0.1:443":              false, // loopback
		"127.255.255.254:443":        false,
		"[::1]:443":                  false,
		"0.0.0.0:443":                false, // unspecified
		"[::]:443":                   false,
		"169.254.169.254:443":        false, // link-local: metadata of clouds
		"[fe80::1]:443":              false,
		"[fe80::1%eth0]:443":         false,
		"100.64.0.1:443":             false, // shared, CGNAT
		"100.127.255.255:443":        false,
		"192.0.0.8:443":              false,
		"192.0.2.1:443":              false, // documentation
		"198.51.100.1:443":           false,
		"203.0.113.1:443":            false,
		"[2001:db8::1]:443":          false,
		"[3fff::1]:443":              false,
		"198.18.0.1:443":             false, // benchmarking
		"224.0.0.1:443":              false, // multicast
		"[ff02::1]:443":              false,
		"240.0.0.1:443":              false, // reserved
		"255.255.255.255:443":        false, // broadcast
		"[fc00::1]:443":              false, // unique local
		"[fd00:2::1]:443":            false,
		"[fec0::1]:443":              false, // site-local
		"[::ffff:127.0.0.1]:443":     false, // mapped
		"[::ffff:93.184.216.34]:443": false,
		"[::127.0.0.1]:443":          false, // compatible
		"[64:ff9b::7f00:1]:443":      false, // NAT64
		"[64:ff9b::5db8:d822]:443":   false,
		"[64:ff9b:1::7f00:1]:443":    false,
		"[2002:7f00:1::]:443":        false, // 6to4
		"[2001:0:4136:e378::1]:443":  false, // Teredo
		"[fd00:ec2::254]:443":        false, // metadata of clouds
		"[64:ff9b::a9fe:a9fe]:443":   false,
		"[2001::1]:443":              false,
		"[5f00::1]:443":              false, // segment routing
		"[2620:4f:8000::1]:443":      false,
		"[100::1]:443":               false, // discard
		"192.88.99.1:443":            false, // 6to4 relays
		"localhost:443":              false, // no address
		"93.184.216.34":              false,
	} {
		if got := checkDial(address, allow, own) == nil; got != want {
			t.Errorf("%s: may be reached: %v", address, got)
		}
	}
}

// A proxy would dial what is refused here, and redirects, kept connections and HTTP/2 would carry one tenant's request over another's.
func TestTheClientGoesThereItself(t *testing.T) {
	client := newClient(Options{})
	transport := client.Transport.(*http.Transport)
	if transport.Proxy != nil || transport.DialTLSContext != nil || transport.ForceAttemptHTTP2 || !transport.DisableKeepAlives || client.Timeout != patience || transport.MaxResponseHeaderBytes > 16<<10 {
		t.Errorf("the client is %+v, %+v", client, transport)
	}
}

func TestAddressesOfWebhooks(t *testing.T) {
	for text, want := range map[string]bool{
		"https://hooks.example":                true,
		"https://hooks.example/a/b?c=d":        true,
		"https://hooks.example:8443/":          true,
		"https://93.184.216.34/":               true,
		"https://[2606:2800:220:1::1]/":        true,
		"https://localhost/":                   true, // where a name leads is found out when it is dialled
		"https://2130706433.example/":          true,
		"http://hooks.example/":                false,
		"HTTP://hooks.example/":                false,
		"ftp://hooks.example/":                 false,
		"https:hooks.example":                  false,
		"//hooks.example/":                     false,
		"hooks.example":                        false,
		"https://":                             false,
		"https:///path":                        false,
		"https://user@hooks.example/":          false,
		"https://user:password@hooks.example/": false,
		"https://hooks.example@127.0.0.1/":     false,
		"https://hooks.example/#fragment":      false,
		"https://hooks.example:22/":            false,
		"https://hooks.example:0/":             false,
		"https://hooks.example:65536/":         false,
		"https://hooks.example:/":              false,
		"https://127.0.0.1/":                   false,
		"https://127.1/":                       false,
		"https://2130706433/":                  false,
		"https://0x7f000001/":                  false,
		"https://0x7f.0.0.0x1/":                false,
		"https://0177.0.0.1/":                  false,
		"https://127.0.0.1./":                  false,
		"https://[::1]/":                       false,
		"https://[::ffff:127.0.0.1]/":          false,
		"https://[fe80::1%25eth0]/":            false,
		"https://169.254.169.254/latest/meta":  false,
		"https://ho oks.example/":              false,
		"https://hooks.example\n/":             false,
		"https://hooks\u3002example/":          false,
		"https://\u2460\u2461\u2466.0.0.1/":    false,
		"https://hooks..example/":              false,
		"https://%6cocalhost.%31/":             false,
	} {
		if problem := checkURL(text, nil); (problem == "") != want {
			t.Errorf("%q: %q", text, problem)
		}
	}
}
