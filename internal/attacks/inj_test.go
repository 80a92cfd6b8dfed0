package attacks_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/apitest"
)

func TestINJ(t *testing.T) {
	w := newWorld(t)
	ua := w.token("ua")

	w.attack(t, "INJ-01", func(a *attack) {
		a.writing("alpha")
		const line = `%0a{"level":"info","tenant":"bravo","forged":true}`
		before := len(w.Log.Lines("request"))
		sent := 0
		send := func(r apitest.Request) {
			sent++
			a.wants(r, 200, 201, 400, 404, 422)
		}
		send(get(ua, productList+"/1"))
		send(get(ua, productList+"/"+strings.ReplaceAll(line, `"`, "%22")))
		send(get(ua, productList+"?prefix="+strings.ReplaceAll(line, `"`, "%22")))
		for _, text := range []string{`\n{\"level\":\"info\",\"tenant\":\"bravo\",\"forged\":true}`, `\u001b[2J`, `\u2028`, `\u202e`} {
			send(post(ua, productList, `{"sk":"x%s","name":"N"}`, text))
			send(post(ua, productList, `{"name":"%s"}`, text))
		}
		for _, text := range []string{"{\"forged\":true}", "\u2028\u202e"} {
			send(with(get(ua, productList+"/1"), "User-Agent", text))
			send(with(get(ua, productList+"/1"), "X-Request-Id", text))
		}
		a.honest(get(ua, productList+"/1"))
		apitest.Eventually(a, func() bool { return len(w.Log.Lines("request")) >= before+sent+1 })
		if n := len(w.Log.Lines("request")) - before; n != sent+1 {
			a.Errorf("%d requests left %d lines", sent+1, n)
		}
		if broken := w.Log.Broken(); len(broken) > 0 || w.Log.Holds("\x1b") || w.Log.Holds("\n{\"level\":\"info\",\"tenant\"") {
			a.Errorf("the log is broken: %q", broken)
		}
	})
	w.attack(t, "INJ-02", func(a *attack) {
		a.writing("alpha")
		names := map[string]bool{} // by name, whether it was taken
		for _, name := range []string{"=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1", "|cmd", "%0A=1", "\n=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff201", `a",=1`, "a;=1", "\x00=1", " =1", "-5", "Chair"} {
			body, err := json.Marshal(map[string]string{"name": name})
			if err != nil {
				a.Fatal(err)
			}
			created := a.wants(apitest.Request{Token: ua, Method: "POST", Path: "/api/data/ORDER", Body: string(body)}, 201, 400, 422)
			names[strings.ReplaceAll(name, "\x00", "\ufffd")] = created.Status == 201 // as databases have it
		}
		if err := w.App.CatchUp(a.Context()); err != nil {
			a.Fatal(err)
		}
		file := a.honest(get(w.token("sa"), "/api/admin/reports/system?format=csv&include=recentOrders"))
		h := file.Header
		if kind, disposition := h.Get("Content-Type"), h.Get("Content-Disposition"); !strings.HasPrefix(kind, "text/csv;") || !strings.HasPrefix(disposition, "attachment;") || h.Get("X-Content-Type-Options") != "nosniff" {
			a.Errorf("the file has the headers %v", h)
		}
		rows, err := csv.NewReader(bytes.NewReader(file.Body)).ReadAll()
		if err != nil || len(rows) == 0 {
			a.Fatalf("%v: %s", err, file.Body)
		}
		shown := map[string]bool{}
		for _, row := range rows[1:] {
			shown[row[3]] = true
			for _, cell := range row {
				if cell != "" && cell != "-5" && strings.ContainsRune("=+-@|%\t\r\n\x00\uff1d\uff0b\uff0d\uff20", []rune(cell)[0]) {
					a.Errorf("the cell %q begins as a formula does", cell)
				}
			}
		}
		for name, created := range names {
			switch plain := name == "-5" || name == "Chair" || name[0] == 'a'; {
			case created && plain && !shown[name], created && !plain && !shown["'"+name]:
				a.Errorf("the name %q is not in %q", name, rows)
			}
		}
	})
	w.attack(t, "INJ-06", func(a *attack) {
		a.honest(get(ua, productList+"/1"))
		for _, origin := range []string{"https://evil.example", "null", "https://alpha.evil.example", "http://" + w.Addr + ".evil.example", "http://localhost:1"} {
			preflight := apitest.Request{Method: "OPTIONS", Path: productList, Header: []string{"Origin", origin, "Access-Control-Request-Method", "GET",
				"Access-Control-Request-Headers", "x-tenant-code"}}
			for _, r := range []apitest.Request{with(get(ua, productList), "Origin", origin), preflight} {
				answer := a.do(r)
				for name := range answer.Header {
					if strings.HasPrefix(name, "Access-Control-") {
						a.Errorf("%v: %s: %s", r, name, answer.Header.Get(name))
					}
				}
			}
		}
	})
	w.attack(t, "INJ-07", func(a *attack) {
		for _, r := range []apitest.Request{get(ua, productList), get("", "/docs/"), get("", "/openapi.json"), get("", "/healthz")} {
			h := a.honest(r).Header
			if !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") || h.Get("X-Frame-Options") != "DENY" || h.Get("Referrer-Policy") != "no-referrer" ||
				h.Get("X-Content-Type-Options") != "nosniff" || strings.Contains(h.Get("Location"), "token") {
				a.Errorf("%v: %v", r, h)
			}
		}
	})
}
