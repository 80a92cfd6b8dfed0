package attacks_test

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/apitest"
)

func TestCUR(t *testing.T) {
	w := newWorld(t)
	ua, ub, sa := w.token("ua"), w.token("ub"), w.token("sa")
	page := func(token, cursor string) apitest.Request {
		return get(token, productList+"?limit=2&cursor="+url.QueryEscape(cursor))
	}
	next := func(a *attack, answer *apitest.Answer) string {
		var p struct{ Cursor string }
		answer.Decode(a, &p)
		return p.Cursor
	}

	w.attack(t, "CUR-01", func(a *attack) {
		cb := next(a, a.honest(get(ub, productList+"?limit=2")))
		a.honest(page(ub, cb))
		refused := a.wants(page(ua, cb), 400)
		if twin := a.wants(page(ua, "nonsense"), 400); alike(refused) != alike(twin) {
			a.Errorf("a foreign cursor is told apart from nonsense: %v", refused)
		}
		a.wants(with(page(sa, cb), tenantHeader, "alpha"), 400)
		a.wants(get(ub, "/api/data/CATALOG?limit=2&cursor="+url.QueryEscape(cb)), 400)
	})
	w.attack(t, "CUR-02", func(a *attack) {
		ca := next(a, a.honest(get(ua, productList+"?limit=2")))
		a.honest(page(ua, ca))
		for i := range len(ca) {
			flipped := []byte(ca)
			flipped[i] ^= 1
			a.wants(page(ua, string(flipped)), 400)
		}
		for _, cursor := range []string{"", ca[:len(ca)-1], ca[1:], ca + "A", ca + "=", ca + ca, base64.StdEncoding.EncodeToString([]byte(ca)), strings.Repeat("A", 7<<10)} {
			a.wants(page(ua, cursor), 400)
		}
		a.wants(page(ua, strings.Repeat("A", 100<<10)), 400, 414)
	})
	w.attack(t, "CUR-05", func(a *attack) {
		ca := next(a, a.honest(get(ua, productList+"?limit=2")))
		text, err := base64.RawURLEncoding.DecodeString(ca)
		if err != nil {
			text = []byte(ca)
		}
		for _, plain := range []string{"PRODUCT", "alpha", "bravo", "pk"} {
			if strings.Contains(string(text), plain) {
				a.Errorf("the cursor shows %q: %q", plain, text)
			}
		}
		for _, made := range []string{`{"pk":"PRODUCT#bravo","sk":"b1"}`, `{"LastEvaluatedKey":{"pk":{"S":"PRODUCT#bravo"},"sk":{"S":"b1"}}}`, `{"offset":-1}`} {
			a.wants(page(ua, base64.StdEncoding.EncodeToString([]byte(made))), 400)
			a.wants(page(ua, base64.RawURLEncoding.EncodeToString([]byte(made))), 400)
		}
	})
	w.attack(t, "CUR-07", func(a *attack) {
		a.writing("alpha", "bravo")
		for from := 0; from < 1000; from += 500 {
			elements := make([]string, 500)
			for i := range elements {
				elements[i] = fmt.Sprintf(`{"sk":"w-%04d","name":"N"}`, from+i)
			}
			r := post(ua, productList+"/bulk", "[%s]", strings.Join(elements, ","))
			r.Slow = true
			a.honest(r)
		}
		found := map[string]int{}
		path, cursor := productList+"?prefix=w-&limit=7", ""
		for pages := 0; pages == 0 || cursor != ""; pages++ {
			a.do(post(ub, productList, `{"sk":"w-%04d-b","name":"N"}`, pages*7)) // bravo writes between any two pages, about where alpha reads
			answer := a.honest(get(ua, path+cursor))
			for _, sk := range rows(a, answer) {
				found[sk]++
			}
			if cursor = next(a, answer); cursor != "" {
				cursor = "&cursor=" + url.QueryEscape(cursor)
			}
		}
		if len(found) != 1000 {
			a.Errorf("the pages hold %d records", len(found))
		}
		for sk, times := range found {
			if times != 1 || len(sk) != len("w-0000") {
				a.Errorf("%s came %d times", sk, times)
			}
		}
	})
}
