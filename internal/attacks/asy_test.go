package attacks_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/apitest"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/report"
	"github.com/tenantry/tenantry/upkeep"
)

// rowOfModel is a row of a read model, and rowKey names it.
type (
	rowOfModel struct{ tenantCode, createdBy, note string }
	rowKey     struct{ pk, sk string }
)

// model is a read model that a handler keeps.
type model struct {
	mu   sync.Mutex
	rows map[rowKey]rowOfModel
}

func (m *model) Up(_ context.Context, sc guard.Scope, cmd *record.Record) error {
	var a struct {
		Note string `json:"note"`
	}
	if err := cmd.Attributes.Decode(&a); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows[rowKey{cmd.PK, cmd.SK}] = rowOfModel{sc.Tenant().String(), cmd.CreatedBy, a.Note}
	return nil
}

func (m *model) Down(context.Context, guard.Scope, *record.Record) error { return nil }

func TestASY(t *testing.T) {
	m := &model{rows: map[rowKey]rowOfModel{}}
	w := newWorld(t, func(o *apitest.Options) {
		o.App.Handlers, o.App.Jobs = []projection.Registration{{Name: "model", Handler: m}}, []jobs.Kind{failing}
	})

	w.attack(t, "ASY-01", func(a *attack) {
		a.writing("alpha", "bravo")
		const each = 500
		users := map[string]string{"alpha": "ua", "bravo": "ub"}
		tokens := map[string]string{"alpha": w.token("ua"), "bravo": w.token("ub")}
		var callers sync.WaitGroup
		for i := range 10 {
			callers.Go(func() {
				for n := range each / 10 {
					for _, code := range []string{"alpha", "bravo"} {
						answer, err := w.Send(post(tokens[code], "/api/data/QUEUED?mode=async", `{"sk":"q%d","name":"N","attributes":{"note":"%s"}}`, i*each/10+n, w.canaries[code]))
						if err != nil || answer.Status != 202 {
							a.Errorf("an asynchronous command of %s: %v %v", code, answer, err)
						}
					}
				}
			})
		}
		callers.Wait()
		w.Settle(a)
		m.mu.Lock()
		defer m.mu.Unlock()
		counts := map[string]int{}
		for key, row := range m.rows {
			code, queued := strings.CutPrefix(key.pk, "QUEUED#")
			if !queued {
				continue
			}
			counts[code]++
			if want := (rowOfModel{code, users[code], w.canaries[code]}); row != want {
				a.Errorf("%v is %+v, want %+v", key, row, want)
			}
		}
		if fmt.Sprint(counts) != "map[alpha:500 bravo:500]" {
			a.Errorf("rows by tenant: %v", counts)
		}
		a.honest(get(tokens["alpha"], "/api/data/QUEUED/q0"))
	})
	w.attack(t, "ASY-03", func(a *attack) {
		a.writing("common", "alpha", "bravo")
		sa, ua, aa, ab := w.token("sa"), w.token("ua"), w.token("aa"), w.token("ab")
		for _, sk := range []string{"1", "2", "3"} {
			a.honest(post(ua, "/api/data/LEAFLET", `{"sk":"%s","name":"for all"}`, sk))
		}
		var ordered struct{ ID string }
		a.honest(post(sa, "/api/admin/sync", `{"sourceTenantCode":"alpha","targetTenantCodes":["bravo"],"entityType":"LEAFLET"}`)).Decode(a, &ordered)
		a.untilOver(sa, ordered.ID)
		for _, sk := range []string{"1", "2", "3"} {
			var row struct {
				TenantCode, PK, RequestID, CreatedBy string
				Metadata                             struct{ SyncedFrom string }
			}
			a.honest(get(w.token("ub"), "/api/data/LEAFLET/"+sk)).Decode(a, &row)
			if row.TenantCode != "bravo" || row.PK != "LEAFLET#bravo" || row.RequestID != ordered.ID || row.Metadata.SyncedFrom != "LEAFLET#alpha#"+sk {
				a.Errorf("the copy is %+v", row)
			}
		}
		for code, token := range map[string]string{"alpha": aa, "bravo": ab} { // each sees the crossing, and of its tenants only its own
			var log struct {
				Items []struct {
					Reason, UserID string
					Tenants        []string
				}
			}
			a.honest(get(token, "/api/audit?limit=1000")).Decode(a, &log)
			seen := 0
			for _, entry := range log.Items {
				if entry.Reason == "sync LEAFLET" {
					seen++
					if len(entry.Tenants) != 1 || entry.Tenants[0] != code {
						a.Errorf("the log of %s shows %+v", code, entry)
					}
				}
			}
			if seen == 0 {
				a.Errorf("the log of %s doesn't have the sync", code)
			}
		}
		w.reportOf(a)
	})

	w.attack(t, "ASY-06", func(a *attack) {
		a.writing("alpha", "bravo")
		sa := w.token("sa")
		own := map[string]string{}
		for _, code := range []string{"alpha", "bravo"} {
			j, err := w.App.Jobs().Enqueue(a.Context(), w.App.Scope(code), jobs.Order{Kind: "failing", Unique: w.canaries[code]})
			if err != nil {
				a.Fatal(err)
			}
			own[code] = j.ID
			a.until("the job is dead", func() bool {
				got, err := w.App.Jobs().Get(a.Context(), w.App.Scope(code), j.ID)
				return err == nil && got.State == jobs.Dead && got.Attempts == 3
			})
		}
		list := "/api/tenants/alpha/jobs?dead=true"
		if answer := a.honest(get(w.token("aa"), list)); !strings.Contains(string(answer.Body), own["alpha"]) || strings.Contains(string(answer.Body), "CANARY") {
			a.Errorf("alpha's admin sees the job, and not what the application said: %v", answer)
		}
		if answer := a.honest(get(sa, list)); !strings.Contains(string(answer.Body), w.canaries["alpha"]) || strings.Contains(string(answer.Body), own["bravo"]) {
			a.Errorf("an operator sees why alpha's job failed, and nothing of bravo: %s", answer.Body)
		}
		for _, token := range []string{w.token("ua"), w.token("ub"), w.token("ab"), w.token("um")} {
			for _, r := range []apitest.Request{get(token, list), get(token, "/api/tenants/alpha/jobs/"+own["alpha"]), post(token, "/api/tenants/alpha/jobs/"+own["alpha"]+"/retry", ""),
				remove(token, "/api/tenants/alpha/jobs/"+own["alpha"])} {
				a.wants(r, 403)
			}
		}
		for _, r := range []apitest.Request{get(w.token("aa"), "/api/tenants/alpha/jobs/"+own["bravo"]), get(sa, "/api/tenants/alpha/jobs/"+own["bravo"]),
			post(sa, "/api/tenants/alpha/jobs/"+own["bravo"]+"/retry", ""), remove(sa, "/api/tenants/alpha/jobs/"+own["bravo"])} {
			a.wants(r, 404)
		}
		a.wants(post(w.token("aa"), "/api/tenants/alpha/jobs/"+own["alpha"]+"/retry", ""), 403)
		for _, code := range []string{"alpha", "bravo"} {
			a.honest(remove(sa, "/api/tenants/"+code+"/jobs/"+own[code]))
		}
	})
}

// reportOf checks that a report of bravo is made with bravo's Scope, sees nothing else, and is told to bravo.
func (w *world) reportOf(a *attack) {
	sa := w.token("sa")
	reported := a.honest(get(sa, "/api/tenants/bravo/metrics"))
	var log struct {
		Items []struct {
			UserID, Operation string
			Tenants           []string
		}
	}
	a.honest(get(w.token("ab"), "/api/audit?limit=1")).Decode(a, &log)
	if len(log.Items) != 1 || log.Items[0].UserID != "sa" || log.Items[0].Operation != "GET /api/tenants/{tenantCode}/metrics" || !slices.Equal(log.Items[0].Tenants, []string{"bravo"}) {
		a.Errorf("bravo's log has %+v", log.Items)
	}
	if bytes.Contains(reported.Body, []byte("alpha")) {
		a.Errorf("a report of bravo: %v", reported)
	}
	sc, err := w.App.System("report").Enter(a.Context(), worldtest.Code("bravo"), time.Time{})
	if err != nil {
		a.Fatal(err)
	}
	shown := 0
	err = w.App.Upkeep().LookIn(a.Context(), sc, func(kept *upkeep.Snapshot) error {
		mine := func(code string) {
			if shown++; code != "bravo" {
				a.Errorf("what reports of bravo sees %s", code)
			}
		}
		return errors.Join(kept.Tenants(a.Context(), func(f upkeep.Freshness) { mine(f.TenantCode) }),
			kept.Counts(a.Context(), func(c upkeep.Count) { mine(c.TenantCode) }),
			kept.Recent(a.Context(), record.MustEntityType("PRODUCT"), 100, func(r upkeep.Row) { mine(r.TenantCode) }))
	})
	if err != nil || shown < 3 {
		a.Errorf("bravo's part is %d rows, %v", shown, err)
	}
	if _, err := w.App.Reports().System(a.Context(), guard.System{}, report.Query{}); !errors.Is(err, fault.RoleRequired) {
		a.Errorf("a second tenant by a Scope: %v", err)
	}
}

// failing is a job that fails each time, and says what only its tenant may see.
var failing = jobs.Kind{Name: "failing", Attempts: 3, Backoff: func(int) time.Duration { return 0 }, Run: func(_ context.Context, _ guard.Scope, j jobs.Job) error {
	return errors.New("it failed for " + j.Unique)
}}
