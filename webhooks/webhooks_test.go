package webhooks_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenantrytest"
	"github.com/tenantry/tenantry/webhooks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// received is a request as a receiver saw it.
type received struct {
	path   string
	header http.Header
	body   string
}

// world is an App with a receiver on 127.0.0.1.
type world struct {
	*tenantrytest.App
	t        *testing.T
	receiver *httptest.Server
	got      chan received
	answer   atomic.Value // func(http.ResponseWriter, *http.Request)
}

func newWorld(t *testing.T, change func(*webhooks.Options)) *world {
	t.Helper()
	w := &world{t: t, got: make(chan received, 1000)}
	w.answers(func(http.ResponseWriter, *http.Request) {})
	w.receiver = httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.got <- received{r.URL.Path, r.Header.Clone(), string(body)}
		w.answer.Load().(func(http.ResponseWriter, *http.Request))(rw, r)
	}))
	t.Cleanup(w.receiver.Close)
	roots := x509.NewCertPool()
	roots.AddCert(w.receiver.Certificate())
	opts := webhooks.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Roots: roots, Backoff: func(int) time.Duration { return time.Minute }}
	if change != nil {
		change(&opts)
	}
	w.App = tenantrytest.New(t, tenantry.Config{Webhooks: opts, Entities: []entity.Type{{Name: record.MustEntityType("SALARY"), ReadRoles: []string{"clerk"}}}})
	return w
}

func (w *world) answers(with func(http.ResponseWriter, *http.Request)) { w.answer.Store(with) }

func status(code int) func(http.ResponseWriter, *http.Request) {
	return func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(code)
		io.WriteString(rw, "a secret of the receiver's network")
	}
}

// hook makes a webhook at a path of the receiver.
func (w *world) hook(sc guard.Scope, path string, types ...string) webhooks.Webhook {
	w.t.Helper()
	url := w.receiver.URL + path
	made, err := w.Webhooks().Create(w.t.Context(), sc, webhooks.Change{URL: &url, EntityTypes: &types})
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

func (w *world) publish(sc guard.Scope, typ, sk, name string) command.Result {
	w.t.Helper()
	key, err := record.NewKey(sc, record.MustEntityType(typ), sk)
	if err != nil {
		w.t.Fatal(err)
	}
	res, err := w.Commands().PublishSync(w.t.Context(), sc, command.Input{Key: key, Version: record.VersionLatest, Name: name})
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func (w *world) next() received {
	w.t.Helper()
	select {
	case r := <-w.got:
		return r
	case <-time.After(20 * time.Second):
		w.t.Fatal("nothing was sent")
		panic("unreachable")
	}
}

// log waits until ok of a webhook's log.
func (w *world) log(sc guard.Scope, hook webhooks.Webhook, what string, ok func([]webhooks.Delivery) bool) []webhooks.Delivery {
	w.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		page, err := w.Webhooks().Deliveries(w.t.Context(), sc, hook.ID, 0, "")
		if err != nil {
			w.t.Fatal(err)
		}
		if ok(page.Items) {
			return page.Items
		}
		select {
		case <-deadline:
			w.t.Fatalf("the log never shows %s: %+v", what, page.Items)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// waits waits until a tenant's only job waits for its next attempt: its time is told by the clock then.
func (w *world) waits(sc guard.Scope, attempts int) {
	w.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		left, _, err := w.Jobs().List(w.t.Context(), sc, jobs.Query{Kind: "webhook", Limit: 2})
		if err != nil {
			w.t.Fatal(err)
		}
		if len(left) == 1 && left[0].State == jobs.Waiting && left[0].Attempts == attempts {
			return
		}
		select {
		case <-deadline:
			w.t.Fatalf("no job waits after %d attempts: %+v", attempts, left)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func inState(state webhooks.State, attempts int) func([]webhooks.Delivery) bool {
	return func(all []webhooks.Delivery) bool {
		return len(all) == 1 && all[0].State == state && len(all[0].Attempts) == attempts
	}
}

// signed reports which of the secrets signed a request, as a receiver verifies it.
func signed(r received, secrets ...string) (by []bool) {
	for _, s := range secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "whsec_"))
		if err != nil || len(key) != 32 {
			panic("no secret: " + s)
		}
		mac := hmac.New(sha256.New, key)
		io.WriteString(mac, r.header.Get("webhook-id")+"."+r.header.Get("webhook-timestamp")+"."+r.body)
		by = append(by, slices.Contains(strings.Fields(r.header.Get("webhook-signature")), "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil))))
	}
	return by
}

func TestCommandsAreSentSigned(t *testing.T) {
	w := newWorld(t, nil)
	acme, bravo := w.Scope("acme"), w.Scope("bravo")
	hook := w.hook(acme, "/acme", "PRODUCT")
	w.publish(bravo, "PRODUCT", "1", "another tenant's")
	w.publish(acme, "ORDER", "1", "of another type")
	for _, step := range []struct{ name, typ string }{{"Chair", "PRODUCT.created"}, {"Table", "PRODUCT.updated"}} {
		res := w.publish(acme, "PRODUCT", "1", step.name)
		got := w.next()
		var body struct {
			Type, Timestamp string
			Data            struct {
				ID, Name, TenantCode, SK string
				Version                  int64
			}
		}
		if err := json.Unmarshal([]byte(got.body), &body); err != nil {
			t.Fatal(err)
		}
		if got.path != "/acme" || body.Type != step.typ || body.Data.Name != step.name || body.Data.TenantCode != "acme" || body.Data.Version != res.Record.Version {
			t.Errorf("sent to %s: %s", got.path, got.body)
		}
		if by := signed(got, hook.Secret); !by[0] {
			t.Errorf("the signature %q is not of the secret", got.header.Get("webhook-signature"))
		}
		got.body += " "
		if by := signed(got, hook.Secret); by[0] {
			t.Error("the signature holds for another body")
		}
	}
	for _, step := range []struct {
		deleted bool
		typ     string
	}{{true, "PRODUCT.deleted"}, {false, "PRODUCT.created"}} { // a new life of the record
		key, err := record.NewKey(acme, record.MustEntityType("PRODUCT"), "1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commands().PublishSync(t.Context(), acme, command.Input{Key: key, Version: record.VersionLatest, Name: "Table", IsDeleted: step.deleted}); err != nil {
			t.Fatal(err)
		}
		if got := w.next(); !strings.HasPrefix(got.body, `{"type":"`+step.typ+`"`) {
			t.Errorf("sent %s, want %s", got.body, step.typ)
		}
	}
	done := w.log(acme, hook, "four that were delivered", func(all []webhooks.Delivery) bool {
		return len(all) == 4 && all[2].State == webhooks.Delivered && all[3].State == webhooks.Delivered && all[0].State == webhooks.Delivered && all[1].State == webhooks.Delivered
	})
	if done[0].Attempts[0].Status != 200 || done[0].RecordID != "PRODUCT#acme#1" {
		t.Errorf("the log says %+v", done[0])
	}
	if len(w.got) > 0 {
		t.Errorf("sent too: %+v", <-w.got)
	}
}

func TestFailuresAreTriedAgainAndDeadLettersByAnAdmin(t *testing.T) {
	w := newWorld(t, func(o *webhooks.Options) { o.Attempts = 3 })
	acme := w.Scope("acme")
	hook := w.hook(acme, "/")
	w.answers(status(500))
	w.publish(acme, "PRODUCT", "1", "Chair")
	first := w.next()
	for n := 1; n < 3; n++ {
		w.log(acme, hook, "an attempt that failed", inState(webhooks.Pending, n))
		w.waits(acme, n)
		w.Clock.Advance(time.Minute)
		again := w.next()
		if again.body != first.body || again.header.Get("webhook-id") != first.header.Get("webhook-id") {
			t.Errorf("attempt %d differs: %+v", n+1, again)
		}
		if again.header.Get("webhook-timestamp") == first.header.Get("webhook-timestamp") || !signed(again, hook.Secret)[0] {
			t.Errorf("attempt %d is not signed anew: %v", n+1, again.header)
		}
	}
	dead := w.log(acme, hook, "a dead letter", inState(webhooks.Dead, 3))
	if text, _ := json.Marshal(dead); strings.Contains(string(text), "secret of the receiver") {
		t.Errorf("the log shows the answer: %s", text)
	}
	if _, err := w.Webhooks().Retry(t.Context(), w.Scope("bravo"), hook.ID, dead[0].ID); !errors.Is(err, fault.NotFound) {
		t.Errorf("another tenant retries it: %v", err)
	}
	w.answers(status(204))
	if _, err := w.Webhooks().Retry(t.Context(), acme, hook.ID, dead[0].ID); err != nil {
		t.Fatal(err)
	}
	if again := w.next(); again.body != first.body {
		t.Errorf("the retry differs: %+v", again)
	}
	w.log(acme, hook, "its delivery", inState(webhooks.Delivered, 4))
	left, _, err := w.Jobs().List(t.Context(), acme, jobs.Query{Kind: "webhook", Kept: true, Limit: 10})
	if err != nil || len(left) > 0 {
		t.Errorf("a dead letter is a dead job too: %v, %v", left, err)
	}
}

// TestADeliveryWhoseJobIsGone has an operator drop the job of a delivery that waits: its tenant's admin has it made all the same, and no second one of one that waits.
func TestADeliveryWhoseJobIsGone(t *testing.T) {
	w := newWorld(t, nil)
	acme := w.Scope("acme")
	hook := w.hook(acme, "/")
	w.answers(status(500))
	w.publish(acme, "PRODUCT", "1", "Chair")
	first := w.next()
	id := w.log(acme, hook, "an attempt that failed", inState(webhooks.Pending, 1))[0].ID
	w.waits(acme, 1)
	retry := func() {
		t.Helper()
		if d, err := w.Webhooks().Retry(t.Context(), acme, hook.ID, id); err != nil || d.State != webhooks.Pending {
			t.Errorf("retried as %+v, %v", d, err)
		}
	}
	retry()
	w.waits(acme, 1) // the only one
	left, _, err := w.Jobs().List(t.Context(), acme, jobs.Query{Kind: "webhook", Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Jobs().Cancel(t.Context(), acme, left[0].ID); err != nil {
		t.Fatal(err)
	}
	w.answers(status(204))
	retry()
	if again := w.next(); again.body != first.body {
		t.Errorf("sent is another: %+v", again)
	}
	w.log(acme, hook, "its delivery", inState(webhooks.Delivered, 2))
}

func TestTwoSecretsSignWhileTheyRotate(t *testing.T) {
	w := newWorld(t, nil)
	acme := w.Scope("acme")
	hook := w.hook(acme, "/")
	rotated, _, err := w.Webhooks().Rotate(t.Context(), acme, hook.ID)
	if err != nil || rotated.Secret == hook.Secret || rotated.FormerUntil.IsZero() {
		t.Fatalf("%+v, %v", rotated, err)
	}
	ping := func() received {
		if _, err := w.Webhooks().Ping(t.Context(), acme, hook.ID); err != nil {
			t.Fatal(err)
		}
		return w.next()
	}
	if by := signed(ping(), hook.Secret, rotated.Secret); !by[0] || !by[1] {
		t.Errorf("while it rotates, signed by the old and the new one: %v", by)
	}
	w.Clock.Advance(25 * time.Hour)
	if by := signed(ping(), hook.Secret, rotated.Secret); by[0] || !by[1] {
		t.Errorf("a day later, signed by the old and the new one: %v", by)
	}
	shown, err := w.Webhooks().Get(t.Context(), acme, hook.ID)
	if err != nil || shown.Secret != "" || !shown.FormerUntil.IsZero() {
		t.Errorf("shown %+v, %v", shown, err)
	}
	key, err := record.NewKey(acme, webhooks.EntityType(), hook.ID)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := w.Data().Get(t.Context(), acme, key)
	if err != nil || strings.Contains(string(rec.Attributes), strings.TrimPrefix(rotated.Secret, "whsec_")) {
		t.Errorf("a secret is kept in the clear: %s, %v", rec.Attributes, err)
	}
}

func TestADeliveryIsOrderedOnce(t *testing.T) {
	w := newWorld(t, nil)
	acme := w.Scope("acme")
	hook := w.hook(acme, "/", "PRODUCT")
	res := w.publish(acme, "PRODUCT", "1", "Chair")
	w.next()
	again, err := record.EncodeAttributes(map[string]any{"commands": []map[string]any{{"pk": res.Record.PK, "sk": res.Record.SK, "version": res.Record.Version}}})
	if err != nil {
		t.Fatal(err)
	}
	j, err := w.Jobs().Enqueue(t.Context(), acme, jobs.Order{Kind: "webhook-fan", Payload: again})
	if err != nil {
		t.Fatal(err)
	}
	w.log(acme, hook, "one delivery", func(all []webhooks.Delivery) bool {
		_, err := w.Jobs().Get(t.Context(), acme, j.ID)
		return errors.Is(err, fault.NotFound) && inState(webhooks.Delivered, 1)(all)
	})
	foreign, err := w.Jobs().Enqueue(t.Context(), w.Scope("bravo"), jobs.Order{Kind: "webhook-fan", Payload: again}) // as if jobs crossed tenants
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.After(20 * time.Second)
	for {
		got, err := w.Jobs().Get(t.Context(), w.Scope("bravo"), foreign.ID)
		if err == nil && got.State == jobs.Dead {
			break
		}
		if errors.Is(err, fault.NotFound) {
			break // it has no webhook, and did nothing
		}
		select {
		case <-deadline:
			t.Fatal("the job of a foreign command neither failed nor ended")
		case <-time.After(5 * time.Millisecond):
		}
	}
	if len(w.got) > 0 {
		t.Errorf("sent again: %+v", <-w.got)
	}
}

func TestWebhooksThatAreOffGetNothing(t *testing.T) {
	w := newWorld(t, nil)
	acme := w.Scope("acme")
	off, on := w.hook(acme, "/off"), w.hook(acme, "/on")
	no := false
	if _, _, err := w.Webhooks().Update(t.Context(), acme, off.ID, webhooks.Change{Active: &no}); err != nil {
		t.Fatal(err)
	}
	gone := w.hook(acme, "/gone")
	if _, _, err := w.Webhooks().Delete(t.Context(), acme, gone.ID); err != nil {
		t.Fatal(err)
	}
	w.publish(acme, "PRODUCT", "1", "Chair")
	if got := w.next(); got.path != "/on" {
		t.Errorf("sent to %s", got.path)
	}
	w.log(acme, on, "its delivery", inState(webhooks.Delivered, 1))
	if _, err := w.Webhooks().Ping(t.Context(), acme, off.ID); err != nil {
		t.Fatal(err)
	}
	w.log(acme, off, "a ping that was not sent", inState(webhooks.Cancelled, 0))
	if _, err := w.Webhooks().Ping(t.Context(), acme, gone.ID); !errors.Is(err, fault.NotFound) {
		t.Errorf("a ping of a webhook that was removed: %v", err)
	}
	if len(w.got) > 0 {
		t.Errorf("sent too: %+v", <-w.got)
	}
}

func TestTenantsDoNotReachEachOthersWebhooks(t *testing.T) {
	w := newWorld(t, nil)
	acme, bravo := w.Scope("acme"), w.Scope("bravo")
	hook := w.hook(acme, "/")
	s := w.Webhooks()
	calls := map[string]func(guard.Scope) error{
		"get": func(sc guard.Scope) error { _, err := s.Get(t.Context(), sc, hook.ID); return err },
		"update": func(sc guard.Scope) error {
			_, _, err := s.Update(t.Context(), sc, hook.ID, webhooks.Change{})
			return err
		},
		"rotate":     func(sc guard.Scope) error { _, _, err := s.Rotate(t.Context(), sc, hook.ID); return err },
		"ping":       func(sc guard.Scope) error { _, err := s.Ping(t.Context(), sc, hook.ID); return err },
		"deliveries": func(sc guard.Scope) error { _, err := s.Deliveries(t.Context(), sc, hook.ID, 0, ""); return err },
	}
	for name, call := range calls {
		if err := call(bravo); !errors.Is(err, fault.NotFound) {
			t.Errorf("%s: another tenant: %v", name, err)
		}
		if err := call(guard.Scope{}); !errors.Is(err, fault.TenantRequired) {
			t.Errorf("%s: no tenant: %v", name, err)
		}
		if err := call(acme); err != nil {
			t.Errorf("%s: its own: %v", name, err)
		}
	}
	if all, err := s.List(t.Context(), bravo); err != nil || len(all) > 0 {
		t.Errorf("another tenant lists %v, %v", all, err)
	}
}

func TestWhatAnAdminMayNotReadIsNotSent(t *testing.T) {
	w := newWorld(t, nil)
	acme := w.Scope("acme")
	hook := w.hook(acme, "/all")
	w.publish(acme, "SALARY", "1", "what only clerks may read")
	w.publish(acme, "PRODUCT", "1", "Chair")
	log := w.log(acme, hook, "an end of all jobs", func(all []webhooks.Delivery) bool {
		left, _, err := w.Jobs().List(t.Context(), acme, jobs.Query{Limit: 1})
		return err == nil && len(left) == 0 && len(all) > 0
	})
	if len(log) != 1 || log[0].Type != "PRODUCT.created" {
		t.Errorf("sent %+v", log)
	}
	for _, name := range []string{"SALARY", "TENANT", "WEBHOOK", "product", ""} {
		types := []string{name}
		if _, err := w.Webhooks().Create(t.Context(), acme, webhooks.Change{URL: &w.receiver.URL, EntityTypes: &types}); !errors.Is(err, fault.ValidationFailed) {
			t.Errorf("a webhook of %q: %v", name, err)
		}
	}
}

// TestWhatAnAdminMayNotReadIsNotSentLater has an admin turn a webhook of somebody who reads more to themselves, and its dead letters with it.
func TestWhatAnAdminMayNotReadIsNotSentLater(t *testing.T) {
	w := newWorld(t, func(o *webhooks.Options) { o.Attempts = 1 })
	acme := w.Scope("acme")
	clerk := worldtest.Actor()
	clerk.Role = "clerk"
	hook := w.hook(worldtest.ScopeFor("acme", clerk), "/clerks", "SALARY")
	w.answers(status(http.StatusInternalServerError))
	w.publish(acme, "SALARY", "1", "what only clerks may read")
	w.next()
	dead := w.log(acme, hook, "a dead letter", inState(webhooks.Dead, 1))
	url, types := w.receiver.URL+"/admins", []string{"PRODUCT"}
	w.answers(status(http.StatusOK))
	if _, _, err := w.Webhooks().Update(t.Context(), acme, hook.ID, webhooks.Change{URL: &url, EntityTypes: &types}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Webhooks().Retry(t.Context(), acme, hook.ID, dead[0].ID); err != nil {
		t.Fatal(err)
	}
	w.log(acme, hook, "that it is not sent", inState(webhooks.Cancelled, 1))
	if len(w.got) > 0 {
		t.Errorf("sent: %+v", <-w.got)
	}
}

// TestTwentyWebhooks makes more webhooks at the same moment than a tenant may have.
func TestTwentyWebhooks(t *testing.T) {
	w := newWorld(t, nil)
	acme := w.Scope("acme")
	var made, refused atomic.Int64
	var makers sync.WaitGroup
	for range 2 * webhooks.Max {
		makers.Go(func() {
			_, err := w.Webhooks().Create(t.Context(), acme, webhooks.Change{URL: &w.receiver.URL})
			switch {
			case err == nil:
				made.Add(1)
			case errors.Is(err, fault.ValidationFailed):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	makers.Wait()
	all, err := w.Webhooks().List(t.Context(), acme)
	if err != nil || made.Load() != webhooks.Max || len(all) != webhooks.Max || refused.Load() != webhooks.Max {
		t.Errorf("%d were made and %d refused, there are %d, %v", made.Load(), refused.Load(), len(all), err)
	}
	if _, _, err := w.Webhooks().Delete(t.Context(), acme, all[0].ID); err != nil {
		t.Fatal(err)
	}
	w.hook(acme, "/in-its-place")
	w.hook(w.Scope("bravo"), "/of-another")
}

// TestNothingLeavesForWhatIsNotPublic makes the receiver stand where attackers would like to reach: on this host, under a name that leads there.
func TestNothingLeavesForWhatIsNotPublic(t *testing.T) {
	w := newWorld(t, func(o *webhooks.Options) { o.Allow = nil })
	acme := w.Scope("acme")
	port := w.receiver.URL[strings.LastIndexByte(w.receiver.URL, ':'):]
	for _, url := range []string{w.receiver.URL, "https://[::ffff:127.0.0.1]" + port, "https://0177.0.0.1" + port, "https://2130706433" + port, "https://127.1" + port, "https://0x7f000001" + port} {
		if _, err := w.Webhooks().Create(t.Context(), acme, webhooks.Change{URL: &url}); !errors.Is(err, fault.ValidationFailed) {
			t.Errorf("%s: %v", url, err)
		}
	}
	url := "https://localhost" + port // a name that leads to loopback only when it is resolved
	hook, err := w.Webhooks().Create(t.Context(), acme, webhooks.Change{URL: &url})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Webhooks().Ping(t.Context(), acme, hook.ID); err != nil {
		t.Fatal(err)
	}
	dead := w.log(acme, hook, "a ping that failed", inState(webhooks.Dead, 1))
	unknown := "https://no-such-name.invalid/"
	if _, _, err := w.Webhooks().Update(t.Context(), acme, hook.ID, webhooks.Change{URL: &unknown}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Webhooks().Retry(t.Context(), acme, hook.ID, dead[0].ID); err != nil {
		t.Fatal(err)
	}
	dead = w.log(acme, hook, "another ping that failed", inState(webhooks.Dead, 2))
	if a := dead[0].Attempts; a[0].Problem != a[1].Problem || a[0].Took != 0 || a[1].Took != 0 {
		t.Errorf("a name inside is told from one that isn't there: %+v", a)
	}
	if len(w.got) > 0 {
		t.Errorf("sent: %+v", <-w.got)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	w := newWorld(t, func(o *webhooks.Options) { o.Attempts = 1 })
	acme := w.Scope("acme")
	hook := w.hook(acme, "/")
	var once sync.Once
	w.answers(func(rw http.ResponseWriter, r *http.Request) {
		once.Do(func() { http.Redirect(rw, r, w.receiver.URL+"/elsewhere", http.StatusTemporaryRedirect) })
	})
	w.publish(acme, "PRODUCT", "1", "Chair")
	w.next()
	dead := w.log(acme, hook, "a failure", inState(webhooks.Dead, 1))
	if a := dead[0].Attempts[0]; a.Status != 307 || !strings.Contains(a.Problem, "redirect") {
		t.Errorf("the log says %+v", a)
	}
	if len(w.got) > 0 {
		t.Errorf("followed to %s", (<-w.got).path)
	}
}

func TestCertificatesAreVerified(t *testing.T) {
	w := newWorld(t, func(o *webhooks.Options) { o.Attempts, o.Roots = 1, x509.NewCertPool() })
	acme := w.Scope("acme")
	hook := w.hook(acme, "/")
	w.publish(acme, "PRODUCT", "1", "Chair")
	dead := w.log(acme, hook, "a failure", inState(webhooks.Dead, 1))
	if len(w.got) > 0 || !strings.Contains(dead[0].Attempts[0].Problem, "certificate") {
		t.Errorf("the log says %+v", dead[0].Attempts)
	}
}
