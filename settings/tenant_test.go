package settings_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/settings"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

const defaults = `{"timezone":"Asia/Tokyo","locale":"ja","dateFormat":"YYYY-MM-DD","currency":"JPY","features":{"exportEnabled":true,"importEnabled":true,"apiEnabled":true}}`

func TestDefaultsAndPatches(t *testing.T) {
	w := newWorld(t, settings.Declaration{})
	if got, err := w.Tenant(t.Context(), w.acme); err != nil || string(got.JSON) != defaults || got.Version != 0 {
		t.Errorf("of a tenant that set nothing: %s, %d, %v", got.JSON, got.Version, err)
	}
	for _, nothing := range []string{`{}`, `{"locale":null,"features":{"apiEnabled":null}}`} {
		if got, err := w.update(w.acme, nothing); err != nil || string(got.JSON) != defaults || got.Version != 0 {
			t.Errorf("%s makes %s at %d, %v", nothing, got.JSON, got.Version, err)
		}
	}
	key := w.Key(w.acme, "SETTINGS", "config")
	for _, step := range []struct {
		patch, stored, locale string
		export                bool
		version               int64
	}{
		{`{"locale":"en-US","features":{"exportEnabled":false}}`, `{"features":{"exportEnabled":false},"locale":"en-US"}`, "en-US", false, 1},
		{`{"features":{"importEnabled":true}}`, `{"features":{"exportEnabled":false,"importEnabled":true},"locale":"en-US"}`, "en-US", false, 2},
		{`{"features":{"exportEnabled":null}}`, `{"features":{"importEnabled":true},"locale":"en-US"}`, "en-US", true, 3},
		{`{"features":{}}`, `{"features":{"importEnabled":true},"locale":"en-US"}`, "en-US", true, 3},
		{`{"features":{"importEnabled":null}}`, `{"locale":"en-US"}`, "en-US", true, 4},
		{`{"features":null,"locale":null}`, `{}`, "ja", true, 5},
		{`{"timezone":null}`, `{}`, "ja", true, 5},
	} {
		answer, err := w.update(w.acme, step.patch)
		if err != nil {
			t.Fatalf("%s: %v", step.patch, err)
		}
		rec, err := w.Data.Get(t.Context(), w.acme, key)
		if err != nil || string(rec.Attributes) != step.stored || rec.Version != step.version || answer.Version != step.version {
			t.Errorf("%s stores %s at %d, answers %d; want %s at %d", step.patch, rec.Attributes, rec.Version, answer.Version, step.stored, step.version)
		}
		typed, err := settings.Get[settings.Tenant](t.Context(), w.Service, w.acme)
		if err != nil || typed.Locale != step.locale || typed.Features.ExportEnabled != step.export || typed.Timezone != "Asia/Tokyo" {
			t.Errorf("after %s: %+v, %v", step.patch, typed, err)
		}
		if read, err := w.Tenant(t.Context(), w.acme); err != nil || string(read.JSON) != string(answer.JSON) {
			t.Errorf("%s answers %s and reads %s", step.patch, answer.JSON, read.JSON)
		}
	}
	if got, _ := w.Tenant(t.Context(), w.bravo); string(got.JSON) != defaults {
		t.Errorf("another tenant has %s", got.JSON)
	}
}

func TestPatchesAreRefused(t *testing.T) {
	w := newWorld(t, settings.Declaration{})
	for patch, want := range map[string]string{
		`{"timezone":"Asia/Atlantis"}`: "timezone", `{"timezone":""}`: "timezone", `{"timezone":"Local"}`: "timezone", `{"timezone":"../etc/passwd"}`: "timezone", `{"timezone":9}`: "timezone",
		`{"locale":"ja_JP"}`: "locale", `{"locale":""}`: "locale", `{"locale":"xx-nonsense-"}`: "locale", `{"locale":"zz"}`: "locale",
		`{"currency":"YEN"}`: "currency", `{"currency":"jpy"}`: "currency", `{"currency":""}`: "currency", `{"currency":"D A"}`: "currency", `{"currency":"AED AFN"}`: "currency",
		`{"dateFormat":"YYYY-MM"}`: "dateFormat", `{"dateFormat":"YYYY-MM-DD hh"}`: "dateFormat", `{"dateFormat":""}`: "dateFormat", `{"dateFormat":"YYYY-MM-DD-DD"}`: "dateFormat", `{"dateFormat":"YYYYY-MM-DD"}`: "dateFormat",
		`{"features":{"exportEnabled":"yes"}}`: "features.exportEnabled", `{"features":7}`: "features",
		`{"colour":"red"}`: "colour", `{"Timezone":"UTC"}`: "Timezone", `{"features":{"fly":true}}`: "features.fly", `{"colour":null}`: "colour", `{"features":{"fly":null}}`: "features.fly",
	} {
		_, err := w.update(w.acme, patch)
		if got := fields(t, err); !slices.Contains(got, want) {
			t.Errorf("%s names %v; want %s", patch, got, want)
		}
	}
	if got, _ := w.Tenant(t.Context(), w.acme); got.Version != 0 {
		t.Error("a refused patch was stored")
	}
	for _, good := range []string{`{"timezone":"UTC"}`, `{"timezone":"America/Argentina/Buenos_Aires"}`, `{"locale":"zh-Hant-TW"}`, `{"locale":"es-419"}`, `{"currency":"EUR"}`, `{"dateFormat":"D. MMMM YYYY"}`, `{"dateFormat":"YYYY年M月D日"}`, `{"dateFormat":"YYMMDD"}`} {
		if _, err := w.update(w.acme, good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}

func TestFormatDate(t *testing.T) {
	moment := time.Date(2026, 3, 4, 16, 0, 0, 0, time.UTC) // the 5th in Tokyo
	for format, want := range map[string]string{"YYYY-MM-DD": "2026-03-05", "D.M.YY": "5.3.26", "MMMM D, YYYY": "March 5, 2026", "DD MMM YYYY": "05 Mar 2026", "YYYYMMDD": "20260305", "YYYY年M月D日": "2026年3月5日", "YYYY/MM/DD _2": ""} {
		s := settings.Defaults()
		s.DateFormat = format
		got, err := s.FormatDate(moment)
		if got != want || (err == nil) == (want == "") {
			t.Errorf("%s: %q, %v; want %q", format, got, err, want)
		}
	}
	s := settings.Defaults()
	s.Timezone = "Local"
	if _, err := s.FormatDate(moment); !errors.Is(err, fault.ValidationFailed) {
		t.Errorf("a zone that is none: %v", err)
	}
}

// shop is a form of an application's own.
type shop struct {
	settings.Tenant
	MaxItems int               `json:"maxItems" minimum:"1"`
	Labels   map[string]string `json:"labels"`
	Days     []string          `json:"days"`
}

// Validate hides that of settings.Tenant, which must be asked all the same.
func (s shop) Validate() []fault.Field {
	if s.MaxItems > 100 && s.Currency == "JPY" {
		return []fault.Field{{Field: "maxItems", Problem: "is at most 100 in Japan"}}
	}
	return nil
}

func newShop() settings.Declaration {
	return settings.Declare(shop{Tenant: settings.Defaults(), MaxItems: 10, Labels: map[string]string{"a": "A", "b": "B"}, Days: []string{"mon"}})
}

func TestDeclaredSettings(t *testing.T) {
	w := newWorld(t, newShop())
	if _, err := w.update(w.acme, `{"maxItems":20,"labels":{"a":"Å","c":"C"},"days":["tue","wed"],"locale":"sv"}`); err != nil {
		t.Fatal(err)
	}
	got, err := settings.Get[shop](t.Context(), w.Service, w.acme)
	want := shop{Tenant: settings.Defaults(), MaxItems: 20, Labels: map[string]string{"a": "Å", "b": "B", "c": "C"}, Days: []string{"tue", "wed"}}
	want.Locale = "sv"
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	for patch, want := range map[string]string{`{"maxItems":0}`: "maxItems", `{"maxItems":101}`: "maxItems", `{"timezone":"Mars"}`: "timezone", `{"labels":{"a":5}}`: "labels.a", `{"days":"mon"}`: "days"} {
		_, err := w.update(w.acme, patch)
		if got := fields(t, err); !slices.Contains(got, want) {
			t.Errorf("%s names %v; want %s", patch, got, want)
		}
	}
	if _, err := w.update(w.acme, `{"days":null,"labels":{"a":null,"c":null}}`); err != nil {
		t.Fatal(err)
	}
	if got, err = settings.Get[shop](t.Context(), w.Service, w.acme); err != nil || got.Labels["a"] != "A" || len(got.Labels) != 2 || got.Days[0] != "mon" {
		t.Errorf("null is not the default: %+v, %v", got, err)
	}
	if _, err := settings.Get[settings.Tenant](t.Context(), w.Service, w.acme); !errors.Is(err, fault.Internal) {
		t.Errorf("another type than the declared one: %v", err)
	}
}

func TestDeclarationsThatCannotBe(t *testing.T) {
	type named struct {
		PK string `json:"pk"`
	}
	type bounded struct {
		N int `json:"n" minimum:"1"`
	}
	for name, d := range map[string]settings.Declaration{"pk": settings.Declare(named{}), "a default out of bounds": settings.Declare(bounded{}), "no struct": settings.Declare(7),
		"a tenant without a zone": settings.Declare(settings.Tenant{Locale: "ja", DateFormat: "YYYY-MM-DD", Currency: "JPY"})} {
		if _, err := settings.New(settings.Config{Declaration: d}); err == nil {
			t.Errorf("%s is taken for a declaration", name)
		}
	}
}

// What other programs keep beside the settings stays, is not shown, and breaks nothing; null is the default.
func TestMembersOfOtherServices(t *testing.T) {
	w := newWorld(t, settings.Declaration{})
	key := w.Key(w.acme, "SETTINGS", "config")
	w.Publish(w.acme, command.Input{Key: key, Name: "x", Attributes: w.Attributes(`{"theme":{"dark":true},"features":{"fly":1,"apiEnabled":false},"locale":null,"currency":"EUR"}`)})
	got, err := settings.Get[settings.Tenant](t.Context(), w.Service, w.acme)
	if err != nil || got.Locale != "ja" || got.Currency != "EUR" || got.Features.APIEnabled || !got.Features.ExportEnabled {
		t.Errorf("%+v, %v", got, err)
	}
	if text, err := w.Tenant(t.Context(), w.acme); err != nil || strings.Contains(string(text.JSON), "theme") || strings.Contains(string(text.JSON), "fly") {
		t.Errorf("%s, %v", text.JSON, err)
	}
	if _, err := w.update(w.acme, `{"features":{"apiEnabled":null}}`); err != nil {
		t.Fatal(err)
	}
	rec, err := w.Data.Get(t.Context(), w.acme, key)
	if err != nil || string(rec.Attributes) != `{"currency":"EUR","features":{"fly":1},"locale":null,"theme":{"dark":true}}` {
		t.Errorf("%s, %v", rec.Attributes, err)
	}
	// A member that other programs wrote in another form is an error, and can be mended.
	w.Publish(w.acme, command.Input{Key: key, Version: 2, Attributes: w.Attributes(`{"locale":5}`)})
	if _, err := w.Tenant(t.Context(), w.acme); !errors.Is(err, fault.Internal) {
		t.Errorf("a number for the locale: %v", err)
	}
	if got, err := w.update(w.acme, `{"locale":"en"}`); err != nil || !strings.Contains(string(got.JSON), `"locale":"en"`) {
		t.Errorf("mended: %s, %v", got.JSON, err)
	}
	// Deleted settings are none.
	w.Publish(w.acme, command.Input{Key: key, Version: 4, IsDeleted: true, Attributes: w.Attributes(`{"locale":"fr"}`)})
	if got, err := w.Tenant(t.Context(), w.acme); err != nil || string(got.JSON) != defaults || got.Version != 0 {
		t.Errorf("deleted: %s at %d, %v", got.JSON, got.Version, err)
	}
	if got, err := w.update(w.acme, `{"currency":"USD"}`); err != nil || !strings.Contains(string(got.JSON), `"locale":"ja"`) {
		t.Errorf("after they were deleted: %s, %v", got.JSON, err)
	}
}

// An error of the store is an error, whatever stood in the cache, and is not remembered.
func TestStoreErrorsAreNoDefaults(t *testing.T) {
	var down atomic.Bool
	src := worldtest.Wrapped(memory.New(), func(e driver.Engine) driver.Engine { return broken{e, &down} })
	w := worldOn(t, src, settings.Declaration{})
	w.put(w.common, settings.Ref{Level: settings.LevelCommon, Code: "tax"}, `{"rate":10}`)
	who := settings.Caller{UserID: "u1", Role: "user", Groups: []string{"g"}}
	down.Store(true)
	if got, err := w.Tenant(t.Context(), w.acme); !errors.Is(err, fault.Unavailable) {
		t.Errorf("settings: %s, %v", got.JSON, err)
	}
	if got, err := settings.Get[settings.Tenant](t.Context(), w.Service, w.acme); !errors.Is(err, fault.Unavailable) {
		t.Errorf("typed settings: %+v, %v", got, err)
	}
	if got := w.resolve(w.acme, "tax", who); got != "unavailable" {
		t.Errorf("a master setting: %s", got)
	}
	if _, _, err := w.Explain(t.Context(), w.acme, "tax", who); !errors.Is(err, fault.Unavailable) {
		t.Errorf("explained: %v", err)
	}
	if _, err := w.update(w.acme, `{"locale":"en"}`); !errors.Is(err, fault.Unavailable) {
		t.Errorf("an update: %v", err)
	}
	down.Store(false)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := w.Tenant(ended, w.bravo); err == nil {
		t.Errorf("a call that was cancelled: %s", got.JSON)
	}
	if got := w.resolve(w.acme, "tax", who); got != `common{"rate":10}` {
		t.Errorf("afterwards: %s", got)
	}
	if got, err := w.Tenant(t.Context(), w.acme); err != nil || string(got.JSON) != defaults {
		t.Errorf("afterwards: %s, %v", got.JSON, err)
	}
}

func TestScopesThatReachNoSettings(t *testing.T) {
	w := newWorld(t, settings.Declaration{})
	if _, err := w.Tenant(t.Context(), w.acme); err != nil { // cached now
		t.Fatal(err)
	}
	if _, err := w.Tenant(t.Context(), w.common); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		sc   scope.Scope
		want fault.Code
	}{"none": {scope.Scope{}, fault.TenantRequired}, "what common shares": {w.acme.Shared(), fault.TenantForbidden}} {
		_, err := w.Tenant(t.Context(), c.sc)
		_, typed := settings.Get[settings.Tenant](t.Context(), w.Service, c.sc)
		_, updated := w.update(c.sc, `{"locale":"en"}`)
		_, resolved := w.Resolve(t.Context(), c.sc, "x", settings.Caller{})
		_, listed := w.List(t.Context(), c.sc, settings.Query{})
		for what, err := range map[string]error{"read": err, "typed": typed, "update": updated, "resolve": resolved, "list": listed} {
			if !errors.Is(err, c.want) {
				t.Errorf("%s with the scope of %s: %v", what, name, err)
			}
		}
	}
}

// After an update is acknowledged nobody reads what stood before it.
func TestUpdatesAreSeen(t *testing.T) {
	w := newWorld(t, newShop())
	var readers sync.WaitGroup
	var acknowledged atomic.Int64
	acknowledged.Store(10)
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				least := acknowledged.Load()
				if got, err := settings.Get[shop](t.Context(), w.Service, w.acme); err != nil || int64(got.MaxItems) < least {
					t.Errorf("read %d after %d was acknowledged, %v", got.MaxItems, least, err)
					return
				}
			}
		})
	}
	for n := int64(11); n <= 90; n++ {
		if _, _, err := w.Update(t.Context(), w.acme, record.Attributes(`{"maxItems":`+string(rune('0'+n/10))+string(rune('0'+n%10))+`}`)); err != nil {
			t.Fatal(err)
		}
		acknowledged.Store(n)
	}
	close(stop)
	readers.Wait()
	if w.hits.Load() == 0 {
		t.Error("nothing was read from the cache")
	}
}
