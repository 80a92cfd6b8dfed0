package attacks_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestCAC(t *testing.T) {
	w := newWorld(t)
	sa := w.token("sa")

	w.attack(t, "CAC-01", func(a *attack) {
		a.writing("alpha", "bravo")
		const theme = "/api/master-setting/theme"
		acknowledged := map[string]*atomic.Int64{"alpha": {}, "bravo": {}}
		// read reads both kinds of settings of a tenant, whose theme says at least what was acknowledged.
		read := func(code, token string) {
			least := acknowledged[code].Load()
			var own struct{ Currency string }
			var one struct {
				SettingValue struct {
					N    int64
					Note string
				}
			}
			for path, into := range map[string]any{"/api/settings": &own, theme: &one} {
				answer, err := w.Send(get(token, path))
				if err != nil || answer.Status != 200 {
					a.Errorf("%s: %v %v", path, answer, err)
					return
				}
				answer.Decode(a, into)
			}
			if v := one.SettingValue; !slices.Contains(currencies[code], own.Currency) || v.Note != w.canaries[code] || v.N < least {
				a.Errorf("%s reads %+v and %+v after %d was acknowledged", code, own, one, least)
			}
		}
		var callers sync.WaitGroup
		for i := range 32 {
			callers.Go(func() {
				for n := range 32 {
					name := []string{"ua", "ub"}[(i+n)%2]
					read([]string{"alpha", "bravo"}[(i+n)%2], w.token(name))
				}
			})
		}
		for code, name := range map[string]string{"alpha": "aa", "bravo": "ab"} {
			callers.Go(func() {
				token := w.token(name)
				for n := range 20 {
					if answer, err := w.Send(patch(token, "/api/settings", `{"currency":"%s"}`, currencies[code][n%2])); err != nil || !answer.OK() {
						a.Errorf("a change of settings: %v %v", answer, err)
					}
					answer, err := w.Send(put(token, "/api/master-setting/tenant/theme", `{"name":"Theme","settingValue":{"n":%d,"note":"%s"}}`, n+1, w.canaries[code]))
					if err != nil || !answer.OK() {
						a.Errorf("a change of the theme: %v %v", answer, err)
						return
					}
					acknowledged[code].Store(int64(n + 1))
					read(code, token)
				}
			})
		}
		callers.Wait()
		for code, name := range map[string]string{"alpha": "ua", "bravo": "ub"} {
			if answer := a.honest(get(w.token(name), theme)); !strings.Contains(string(answer.Body), `"n":20`) {
				a.Errorf("%s ends with %v", code, answer)
			}
		}
	})
	w.attack(t, "CAC-03", func(a *attack) {
		a.writing("fresh")
		a.honest(post(sa, "/api/tenant", `{"code":"fresh","name":"N"}`))
		admin := w.tokenOf(member("admin", "fresh"), "admin-fresh")
		const mode = "/api/master-setting/tenant/mode"
		currency := func(want string) {
			a.Helper()
			if answer := a.honest(get(admin, "/api/settings")); !strings.Contains(string(answer.Body), fmt.Sprintf(`"currency":%q`, want)) {
				a.Errorf("the settings are %v, want %s", answer, want)
			}
		}
		for range 2 { // what is not there is remembered too, and forgotten
			currency("JPY")
			a.wants(get(admin, "/api/master-setting/mode"), 404)
			a.honest(patch(admin, "/api/settings", `{"currency":"NOK"}`))
			a.honest(put(admin, mode, `{"name":"Mode","settingValue":{"dark":true}}`))
			currency("NOK")
			a.honest(get(admin, "/api/master-setting/mode"))
			a.honest(patch(admin, "/api/settings", `{"currency":null}`))
			a.honest(remove(admin, mode))
		}
		a.honest(patch(admin, "/api/settings", `{"currency":"NOK"}`))
		a.honest(remove(sa, "/api/tenant/TENANT%23fresh/MASTER"))
		a.wants(get(admin, "/api/settings"), 403)
		if answer := a.wants(post(sa, "/api/tenant", `{"code":"fresh","name":"N"}`), 409); answer.Code() != "tenant_not_purged" {
			a.Errorf("a code whose settings are left: %v", answer)
		}
	})
}
