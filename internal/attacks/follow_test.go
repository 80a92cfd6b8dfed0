package attacks_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tenantry/tenantry/events"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/apitest"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/storage/sqlite"
)

// TestStreams comes back to live events with places that were another's or nobody's, hides events in what events hold, and keeps streams
// open where others want one.
func TestStreams(t *testing.T) {
	w := newWorld(t)
	ua, ub, sa := w.token("ua"), w.token("ub"), w.token("sa")
	from := func(token, id string) apitest.Request { return with(get(token, "/api/events"), "Last-Event-Id", id) }

	w.class(t, "places", func(a *attack) {
		a.writing("alpha", "bravo")
		w.Show(a)
		bravos, alphas := apitest.Follow(a, w.URL, ub, ""), apitest.Follow(a, w.URL, ua, "")
		a.honest(post(ub, productList, `{"sk":"place","name":"%s"}`, w.canaries["bravo"]))
		a.honest(post(ua, productList, `{"sk":"place","name":"%s"}`, w.canaries["alpha"]))
		foreign, _ := bravos.Change()
		own, _ := alphas.Change()
		for _, r := range []apitest.Request{from(ua, foreign), from(w.token("aa"), foreign), with(from(sa, foreign), tenantHeader, "alpha"), with(from(sa, foreign), tenantHeader, "charlie")} {
			a.wants(r, 400)
		}
		var list struct{ Cursor string }
		a.honest(get(ua, productList+"?limit=1")).Decode(a, &list)
		forged := []string{"0", "-1", "1", "18446744073709551616", "x", "null", "*", list.Cursor, own + "A", own[1:], own[:len(own)-1], strings.Repeat("A", 16<<10), strings.ToLower(own), own + "," + foreign}
		for i := range len(own) {
			changed := byte('A')
			if own[i] == 'A' {
				changed = 'B'
			}
			forged = append(forged, own[:i]+string(changed)+own[i+1:])
		}
		for _, id := range forged {
			a.wants(from(ua, id), 400)
		}
		a.wants(with(from(ua, own), "Last-Event-Id", foreign), 400)
		if answer := a.do(get(ua, "/api/events?lastEventId="+foreign)); len(seen(answer)) > 0 { // names no place: the stream begins with what comes
			a.Errorf("a place in the query shows %v", answer)
		}
		for _, types := range []string{"TENANT", "AUDIT", "WEBHOOK", "USER_TENANT", "PRODUCT,TENANT", "PRODUCT,", ",", "*", "product", "PRODUCT%23bravo", "%00"} {
			a.wants(get(ua, "/api/events?entityType="+types), 400, 404)
		}
		a.wants(get(ua, "/api/events?entityType=PRODUCT&entityType=ORDER"), 400)
		a.honest(from(ua, own))
	})
	w.class(t, "events in events", func(a *attack) {
		a.writing("alpha", "common")
		w.Show(a)
		stream := apitest.Follow(a, w.URL, ua, "")
		const forged = "\n\nid: x\nevent: change\ndata: {\"pk\":\"PRODUCT#bravo\"}\n\n\r\rdata: x\u2028\u2029\u0085"
		text, err := json.Marshal(forged)
		if err != nil {
			a.Fatal(err)
		}
		a.honest(post(sa, "/api/tenants/common/data/TEMPLATE", `{"sk":"t2","name":"%s"}`, w.canaries["common"])) // is no event of alpha's
		for n := range 3 {
			w.Show(a)
			a.honest(post(ua, productList, `{"sk":"forged%d","name":"N","attributes":{"note":%s,%s:"key"}}`, n, text, text))
		}
		for n := range 3 {
			_, data := stream.Change()
			var got struct {
				PK, SK     string
				Attributes map[string]string
			}
			if err := json.Unmarshal([]byte(data), &got); err != nil || got.PK != "PRODUCT#alpha" || got.SK != fmt.Sprintf("forged%d@1", n) || got.Attributes["note"] != forged || got.Attributes[forged] != "key" {
				a.Errorf("event %d is %q, %v", n, data, err)
			}
		}
	})
	w.class(t, "as many as there may be", func(a *attack) {
		for range events.MaxStreams {
			apitest.Follow(a, w.URL, ua, "")
		}
		for _, token := range []string{ua, w.token("aa")} {
			if answer := a.wants(get(token, "/api/events"), 429); answer.Code() != "rate_limited" || answer.Header.Get("Retry-After") == "" {
				a.Errorf("one stream more: %v", answer)
			}
		}
		a.honest(get(ub, "/api/events"))
	})
}

// TestPositions looks into places of the change feed for what others write, and waits for places that no answer named.
func TestPositions(t *testing.T) {
	w := newWorld(t)
	ua, ub, sa := w.token("ua"), w.token("ub"), w.token("sa")
	const metrics, header = "/api/tenants/alpha/metrics", "X-Tenantry-Position"
	if w.LateFeed() {
		return // commands say no place
	}

	w.class(t, "places of others", func(a *attack) {
		a.writing("alpha", "bravo")
		place := func(r apitest.Request) string { return a.honest(r).Header.Get(header) }
		write := func(token string, n int) apitest.Request {
			return post(token, productList, `{"sk":"place%d","name":"N"}`, n)
		}
		seen := map[string]bool{}
		for n := range 12 {
			for _, at := range []string{place(write(ua, n)), place(write(ub, n)), place(get(ua, metrics))} {
				text, err := base64.RawURLEncoding.DecodeString(at)
				if err != nil || len(at) != 64 || seen[at] || bytes.Contains(text, []byte("    ")) {
					a.Errorf("a place shows what it is: %q, %q", at, text)
				}
				seen[at] = true
			}
		}
		if answer := a.honest(get(ua, metrics)); strings.Contains(string(answer.Body), "osition") {
			a.Errorf("the report of a tenant says a place: %v", answer)
		}
		own, bravos := place(write(ua, 20)), place(write(ub, 20))
		for _, at := range []string{own, bravos} {
			a.honest(with(get(ua, metrics), header, at)) // what is read is alpha's
			a.honest(with(get(sa, "/api/admin/reports/system"), header, at))
		}
		forged := []string{"1", "0", "-1", "40", "99999999", "9223372036854775807", "x", "", "*", own + "A", own + "=", own[1:], own[:len(own)-1], own + "," + bravos, strings.ToLower(own), strings.Repeat("A", 64), strings.Repeat("A", 16<<10)}
		for i := range own {
			changed := byte('A')
			if own[i] == 'A' {
				changed = 'B'
			}
			forged = append(forged, own[:i]+string(changed)+own[i+1:])
		}
		for _, at := range forged {
			if answer := a.wants(with(get(ua, metrics), header, at), 400); answer.Code() != "invalid_cursor" {
				a.Errorf("%q: %v", at, answer)
			}
		}
		a.wants(with(get(ua, metrics), header, own, header, own), 400)
	})
}

// silent is a store that takes no entry into the audit log, while it is silent.
type silent struct {
	driver.Engine
	now *atomic.Bool
}

func (s silent) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	if s.now.Load() && slices.ContainsFunc(b.Writes, func(w driver.Write) bool { return strings.HasPrefix(w.Record.PK, "AUDIT#") }) {
		return "", fault.New(fault.Unavailable, "silent", "the audit log takes no entry")
	}
	return s.Engine.Commit(ctx, b)
}

// TestReportsAsAttacked asks for reports out of their bounds, and for what nobody would be told of.
func TestReportsAsAttacked(t *testing.T) {
	var quiet atomic.Bool
	model, err := readmodel.New(readmodel.Guide())
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(o *apitest.Options) {
		o.App.Model = model
		o.App.Store = worldtest.Wrapped(memory.New(), func(e driver.Engine) driver.Engine { return silent{e, &quiet} })
		o.App.ReadModel = sqlite.At(t.TempDir())
	})
	sa, aa := w.token("sa"), w.token("aa")
	const system = "/api/admin/reports/system"

	w.class(t, "bounds", func(a *attack) {
		for _, name := range []string{"top", "days"} {
			for _, value := range []string{"", "0", "-1", "1001", "99999999999999999999", "9223372036854775807", "1e3", "+5", "05", "1.0", "0x10", "NaN", "%20", "%00", "1;drop"} {
				a.wants(get(sa, system+"?"+name+"="+value), 400, 422)
			}
			a.wants(get(sa, system+"?"+name+"=1&"+name+"=2"), 400)
		}
		for _, query := range []string{"entityType=TENANT", "entityType=USER_TENANT", "entityType=AUDIT", "entityType=product", "entityType=PRODUCT,ORDER", "entityType=PRODUCT%27--", "entityType=%25", "entityType=NONE%23alpha",
			"include=all", "include=recentOrders,x", "format=xlsx", "format=CSV", "tenantCode=zulu9%00"} {
			a.wants(get(sa, system+"?"+query), 400, 403, 404, 422)
		}
		a.honest(get(sa, system+"?top=1000&days=366&include=recentOrders&entityType=ORDER"))
	})
	w.class(t, "no entry, no report", func(a *attack) {
		a.writing("alpha")
		a.honest(post(w.token("ua"), "/api/data/ORDER", `{"sk":"o1","name":"%s"}`, w.canaries["alpha"]))
		asked := []string{system, system + "?format=csv", system + "?include=recentOrders", system + "?include=recentOrders&format=csv", "/api/tenants/alpha/metrics", "/api/tenants/alpha/metrics?format=csv"}
		for _, path := range asked {
			a.honest(get(sa, path))
		}
		quiet.Store(true)
		for _, path := range asked {
			r := get(sa, path)
			r.Fails = true
			if answer := a.wants(r, 503); len(seen(answer)) > 0 || strings.Contains(string(answer.Body), `"products"`) || strings.Contains(string(answer.Body), `"totalProducts"`) {
				a.Errorf("%s: told without an entry: %v", path, answer)
			}
		}
		a.honest(get(aa, "/api/tenants/alpha/metrics")) // one's own needs none
		quiet.Store(false)
	})
	w.class(t, "acting in a tenant", func(a *attack) {
		for _, token := range []string{aa, w.token("ua"), w.token("um"), w.token("un")} {
			for _, code := range []string{"alpha", "bravo", "common"} {
				a.wants(with(get(token, system), tenantHeader, code), 400, 403)
			}
			a.hidden(get(token, "/api/tenants/bravo/metrics"), get(token, "/api/tenants/zulu9/metrics"))
		}
		a.wants(get(w.token("ua"), "/api/tenants/common/metrics"), 403)
		a.honest(get(sa, "/api/tenants/common/metrics"))
	})
}

// TestQueue asks for jobs by what names another's, or none, and looks for what they hold.
func TestQueue(t *testing.T) {
	hold := make(chan struct{})
	var once sync.Once
	release := func() { once.Do(func() { close(hold) }) }
	w := newWorld(t, func(o *apitest.Options) {
		o.App.Jobs = []jobs.Kind{failing, {Name: "held", Run: func(ctx context.Context, sc guard.Scope, j jobs.Job) error {
			if j.Unique != sc.Tenant().String() {
				return jobs.Final(errors.New("a job of another tenant"))
			}
			select {
			case <-hold:
			case <-ctx.Done():
			}
			return context.Cause(ctx)
		}}}
	})
	t.Cleanup(release)
	sa, aa, ab := w.token("sa"), w.token("aa"), w.token("ab")
	enqueue := func(a *attack, code, kind, unique string) string {
		a.Helper()
		j, err := w.App.Jobs().Enqueue(a.Context(), w.App.Scope(code), jobs.Order{Kind: kind, Unique: unique, Payload: []byte(fmt.Sprintf(`{"note":%q}`, w.canaries[code]))})
		if err != nil {
			a.Fatal(err)
		}
		return j.ID
	}
	of := func(code, id string) string { return "/api/tenants/" + code + "/jobs/" + id }

	w.class(t, "names and places", func(a *attack) {
		a.writing("alpha", "bravo")
		own := map[string]string{}
		for _, code := range []string{"alpha", "bravo"} {
			own[code] = enqueue(a, code, "held", code)
			if again := enqueue(a, code, "held", code); code == "bravo" && again == own["alpha"] {
				a.Error("one text is one job in two tenants")
			}
		}
		_, short, _ := strings.Cut(own["alpha"], ".")
		for _, id := range []string{own["bravo"], "failing." + short, "other." + short, short, "held.", "." + short, "held." + strings.ToLower(short), "held%23due%23" + short, "held.x%23" + short, "held.due%23" + short,
			"held.~", "held.%00", "held." + strings.Repeat("7", 600), "*", "%25", "webhook-fan." + short} {
			for _, token := range []string{aa, sa} {
				a.wants(get(token, of("alpha", id)), 400, 404)
			}
			a.wants(post(sa, of("alpha", id)+"/retry", ""), 400, 404)
			a.wants(remove(sa, of("alpha", id)), 400, 404)
		}
		var page struct{ Cursor string }
		a.honest(get(ab, "/api/tenants/bravo/jobs?limit=1")).Decode(a, &page)
		if page.Cursor == "" {
			a.Error("a page of one job of two has no cursor")
		}
		for _, query := range []string{"cursor=" + page.Cursor, "cursor=held." + short, "cursor=x", "kind=none", "kind=held%23due", "limit=0", "limit=-1", "limit=100000", "dead=maybe", "tenantCode=bravo"} {
			a.wants(get(aa, "/api/tenants/alpha/jobs?"+query), 400, 403, 422)
		}
		for _, r := range []apitest.Request{get(aa, of("alpha", own["alpha"])), get(sa, of("alpha", own["alpha"])), get(aa, "/api/tenants/alpha/jobs")} {
			if answer := a.honest(r); len(seen(answer)) > 0 {
				a.Errorf("a job shows what it holds: %v", answer)
			}
		}
		a.wants(post(sa, of("alpha", own["alpha"])+"/retry", ""), 400, 404, 409) // it runs or waits
		a.until("both jobs run", func() bool {
			for code, id := range own {
				if j, err := w.App.Jobs().Get(a.Context(), w.App.Scope(code), id); err != nil || j.State != jobs.Running {
					return false
				}
			}
			return true
		})
		a.honest(remove(sa, of("alpha", own["alpha"]))) // while it runs
		a.wants(get(sa, of("alpha", own["alpha"])), 404)
		a.honest(get(ab, of("bravo", own["bravo"])))
		release()
		for _, code := range []string{"alpha", "bravo"} {
			a.until("nothing waits", func() bool {
				left, _, err := w.App.Jobs().List(a.Context(), w.App.Scope(code), jobs.Query{Limit: 1})
				return err == nil && len(left) == 0
			})
			if answer := a.honest(get(sa, "/api/tenants/"+code+"/jobs?dead=true")); strings.Contains(string(answer.Body), "held.") {
				a.Errorf("a job failed: %s", answer.Body)
			}
		}
	})
	w.class(t, "a tenant that is suspended, and gone", func(a *attack) {
		a.writing("passing")
		a.honest(post(sa, "/api/tenant", `{"code":"passing","name":"N"}`))
		a.honest(post(sa, "/api/admin/tenants/passing/suspend", `{"reason":"unpaid"}`))
		id := enqueue(a, "passing", "failing", "waits")
		var j struct {
			State    string
			Attempts int
		}
		first := a.finished(enqueue(a, "bravo", "failing", "beside"), "bravo")
		if a.honest(get(sa, of("passing", id))).Decode(a, &j); j.State != "waiting" || j.Attempts != 0 {
			a.Errorf("the job of a suspended tenant is %+v, while bravo's is %s", j, first)
		}
		a.honest(remove(sa, "/api/tenant/TENANT%23passing/MASTER"))
		a.until("the job is dropped", func() bool {
			left, _, err := w.App.Jobs().List(a.Context(), worldtest.Scope("passing"), jobs.Query{Kept: true, Limit: 10})
			return err == nil && len(left) == 1 && left[0].State == jobs.Dropped && left[0].Attempts == 0
		})
		a.writing("bravo")
	})
}

// finished waits until a job is dead, removes it, and returns its state.
func (a *attack) finished(id, code string) (state jobs.State) {
	a.Helper()
	sc := a.w.App.Scope(code)
	a.until("the job is dead", func() bool {
		j, err := a.w.App.Jobs().Get(a.Context(), sc, id)
		state = j.State
		return err == nil && state == jobs.Dead
	})
	a.honest(remove(a.w.token("sa"), "/api/tenants/"+code+"/jobs/"+id))
	return state
}
