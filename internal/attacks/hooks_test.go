package attacks_test

import (
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/apitest"
)

// TestWebhooks has a tenant's admin make the server send requests to where they can't go themselves: to a service beside it.
func TestWebhooks(t *testing.T) {
	hits := make(chan string, 1000)
	inside := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits <- r.Host + r.URL.Path
		if r.URL.Path == "/redirect" {
			http.Redirect(w, r, "/followed", http.StatusPermanentRedirect)
			return
		}
		io.WriteString(w, "what is behind the wall")
	}))
	defer inside.Close()
	port := inside.URL[strings.LastIndexByte(inside.URL, ':'):]
	var allow bool
	start := func() *world {
		return newWorld(t, func(o *apitest.Options) {
			o.App.Webhooks.Attempts = 1
			o.App.Webhooks.Roots = x509.NewCertPool()
			o.App.Webhooks.Roots.AddCert(inside.Certificate())
			if allow {
				o.App.Webhooks.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			}
		})
	}
	w := start()
	// sent makes a webhook, pings it, and returns what the log says of it in the end.
	sent := func(a *attack, w *world, url string) string {
		a.Helper()
		var hook struct{ ID string }
		a.honest(post(w.token("aa"), "/api/webhooks", `{"url":%q}`, url)).Decode(a, &hook)
		a.honest(post(w.token("aa"), "/api/webhooks/"+hook.ID+"/ping", ""))
		log := ""
		a.until("the ping has ended", func() bool {
			log = string(a.honest(get(w.token("aa"), "/api/webhooks/"+hook.ID+"/deliveries")).Body)
			return !strings.Contains(log, `"pending"`)
		})
		a.honest(remove(w.token("aa"), "/api/webhooks/"+hook.ID))
		return log
	}

	w.class(t, "addresses inside", func(a *attack) {
		a.writing("alpha")
		for _, host := range []string{"127.0.0.1", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
			"[2002:7f00:1::]", "[fe80::1%25lo]", "0.0.0.0", "[::]", "169.254.169.254", "10.0.0.1", "100.64.0.1", "224.0.0.1", "example.com@127.0.0.1", "127.0.0.1.", "127\u30020.0.1", "\u2460\u2461\u2466.1"} {
			a.wants(post(w.token("aa"), "/api/webhooks", `{"url":"https://%s%s/"}`, host, port), 422)
		}
		for _, url := range []string{"http://example.com/", "file:///etc/passwd", "gopher://example.com/", "https://example.com:22/", "//example.com/", "https:example.com", "https://example.com/\\r\\nX: y"} {
			a.wants(post(w.token("aa"), "/api/webhooks", `{"url":"%s"}`, url), 422)
		}
		logs := []string{sent(a, w, "https://localhost"+port+"/"), sent(a, w, "https://nowhere.invalid/")}
		for _, log := range logs {
			if !strings.Contains(log, `"dead"`) || !strings.Contains(log, "no connection: the name is not known, nobody answers there, or") {
				a.Errorf("the log tells a name inside from one that isn't there: %s", log)
			}
		}
		if len(hits) > 0 {
			a.Errorf("the service beside the server was asked for %s", <-hits)
		}
	})
	w.class(t, "webhooks of others", func(a *attack) {
		a.writing("bravo")
		var hook struct{ ID, Secret string }
		a.honest(post(w.token("ab"), "/api/webhooks", `{"url":"https://hooks.example/%s","active":false}`, w.canaries["bravo"])).Decode(a, &hook)
		one := "/api/webhooks/" + hook.ID
		for _, token := range []string{w.token("aa"), w.token("ua")} {
			for _, r := range []apitest.Request{get(token, one), patch(token, one, `{"url":"https://evil.example/"}`), remove(token, one), post(token, one+"/rotate", ""), post(token, one+"/ping", ""),
				get(token, one+"/deliveries"), get(token, "/api/tenants/bravo/webhooks"), post(token, "/api/tenants/bravo/webhooks", `{"url":"https://evil.example/"}`)} {
				a.wants(r, 403, 404)
			}
		}
		for _, r := range []apitest.Request{get(w.token("ub"), "/api/webhooks"), post(w.token("ub"), "/api/webhooks", `{"url":"https://evil.example/"}`)} {
			a.wants(r, 403)
		}
		shown := string(a.honest(get(w.token("ab"), one)).Body) + string(a.honest(get(w.token("ab"), "/api/webhooks")).Body)
		if hook.Secret == "" || strings.Contains(shown, "whsec_") || strings.Contains(shown, "sealed") {
			a.Errorf("a secret is shown again: %s", shown)
		}
	})

	w.class(t, "secrets", func(a *attack) {
		a.writing("alpha")
		aa, sa := w.token("aa"), w.token("sa")
		const inAddress = "what-only-alpha-knows"
		var hook struct{ ID, Secret string }
		a.honest(post(aa, "/api/webhooks", `{"url":"https://localhost%s/?token=%s"}`, port, inAddress)).Decode(a, &hook)
		secrets := []string{hook.Secret, inAddress}
		one := "/api/webhooks/" + hook.ID
		a.honest(post(aa, one+"/rotate", "")).Decode(a, &hook)
		secrets = append(secrets, hook.Secret)
		a.honest(post(aa, one+"/ping", ""))
		a.until("the ping has ended", func() bool {
			return !strings.Contains(string(a.honest(get(aa, one+"/deliveries")).Body), `"pending"`)
		})
		shown := ""
		for _, r := range []apitest.Request{get(sa, "/api/admin/audit?limit=1000"), get(sa, "/api/tenants/alpha/jobs"), get(sa, "/api/tenants/alpha/jobs?dead=true"), get(aa, "/api/audit?limit=1000"), get(aa, one+"/deliveries"),
			get(sa, "/api/tenants/alpha/webhooks/"+hook.ID+"/deliveries")} {
			shown += string(a.honest(r).Body)
		}
		for _, path := range []string{"/api/data/WEBHOOK", "/api/data/WEBHOOK/" + hook.ID, "/api/data/WEBHOOK/" + hook.ID + "/history", "/api/data/WEBHOOK/" + hook.ID + "/commands/1", "/api/data/DELIVERY", "/api/data/JOB"} {
			if answer := a.do(get(aa, path)); answer.OK() && !strings.Contains(string(answer.Body), `"items":[]`) {
				a.Errorf("%s: %v", path, answer)
			}
		}
		for i, secret := range secrets {
			if secret == "" || w.Log.Holds(secret) || strings.Contains(shown, secret) {
				a.Errorf("secret %d is in the log or shown: %q", i, secret)
			}
		}
		settings := string(a.honest(get(aa, one)).Body) + string(a.honest(get(sa, "/api/tenants/alpha/webhooks")).Body)
		if strings.Contains(settings, "whsec_") || strings.Contains(settings, "sealed") {
			a.Errorf("a secret is shown again: %s", settings)
		}
		a.honest(remove(aa, one))
	})
	w.class(t, "more than there may be", func(a *attack) {
		a.writing("alpha")
		var mu sync.Mutex
		statuses := map[int]int{}
		var makers sync.WaitGroup
		for range 40 {
			makers.Go(func() {
				answer, err := w.Send(post(w.token("aa"), "/api/webhooks", `{"url":"https://hooks.example/","active":false}`))
				if err != nil {
					a.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				statuses[answer.Status]++
			})
		}
		makers.Wait()
		var list struct{ Items []struct{ ID string } }
		a.honest(get(w.token("aa"), "/api/webhooks")).Decode(a, &list)
		if statuses[201] != 20 || statuses[422] != 20 || len(list.Items) != 20 {
			a.Errorf("40 at once were answered %v, and there are %d", statuses, len(list.Items))
		}
		for _, one := range list.Items {
			a.honest(remove(w.token("aa"), "/api/webhooks/"+one.ID))
		}
	})

	allow = true
	w = start() // the same attacks where the network is allowed: what is left are redirects and answers
	w.class(t, "answers and redirects", func(a *attack) {
		a.writing("alpha")
		for _, path := range []string{"/redirect", "/"} {
			log := sent(a, w, inside.URL+path)
			if strings.Contains(log, "behind the wall") || strings.Contains(log, "followed") && path == "/" {
				a.Errorf("%s: the log shows the answer: %s", path, log)
			}
			select {
			case hit := <-hits:
				if !strings.HasSuffix(hit, path) {
					a.Errorf("%s was asked for", hit)
				}
			case <-time.After(10 * time.Second):
				a.Errorf("%s was not sent, though its network is allowed", path)
			}
		}
		if len(hits) > 0 {
			a.Errorf("%s was asked for too", <-hits)
		}
	})
}
