package members_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/members"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenantrytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is an App and the engine under it, past all scopes.
type world struct {
	*tenantrytest.App
	testing.TB
	engine *spy
	idp    *auth.Keyring // of the external issuer
}

// external is the name of an external issuer.
const external = "https://idp.example/pool"

// outside returns a token of the external issuer.
func (w *world) outside(c auth.Claims) string {
	w.Helper()
	token, err := w.idp.Issue(c)
	if err != nil {
		w.Fatal(err)
	}
	return token
}

// spy is an engine that a test can make fail.
type spy struct {
	driver.Engine
	mu    sync.Mutex
	late  bool              // a commit that fails is made nevertheless
	apart atomic.Bool       // what caches read is not counted: who asks for the same meanwhile waits for it
	calls int               // with a context of count, since the last reset
	fail  func(n int) error // of the n-th of them, from 1; 0 for others. Nil for none
}

func (s *spy) call(ctx context.Context) error {
	s.mu.Lock()
	n, fail := 0, s.fail
	if ctx.Value(counted{}) != nil {
		s.calls++
		n = s.calls
	}
	s.mu.Unlock()
	if fail == nil {
		return nil
	}
	return fail(n)
}

// counted marks the context of calls that are counted: others come from what runs in the background.
type counted struct{}

// count returns a context whose calls of the store are counted.
func count(ctx context.Context) context.Context { return context.WithValue(ctx, counted{}, true) }

// begin counts from here on, and fails as fail says.
func (s *spy) begin(fail func(n int) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls, s.fail = 0, fail
}

// end stops failing and returns how many calls there were.
func (s *spy) end() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = nil
	return s.calls
}

func (s *spy) Get(ctx context.Context, ref driver.Ref) (*record.Record, error) {
	if s.apart.Load() && ref.Collection != driver.System {
		return s.Engine.Get(ctx, ref)
	}
	if err := s.call(ctx); err != nil {
		return nil, err
	}
	return s.Engine.Get(ctx, ref)
}

func (s *spy) BatchGet(ctx context.Context, refs []driver.Ref) ([]*record.Record, error) {
	if err := s.call(ctx); err != nil {
		return nil, err
	}
	return s.Engine.BatchGet(ctx, refs)
}

func (s *spy) Range(ctx context.Context, r driver.Range) ([]*record.Record, error) {
	if err := s.call(ctx); err != nil {
		return nil, err
	}
	return s.Engine.Range(ctx, r)
}

func (s *spy) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	err := s.call(ctx)
	if err != nil && !s.late {
		return "", err
	}
	position, done := s.Engine.Commit(ctx, b)
	return position, cmp.Or(err, done)
}

// newWorld returns an App with tenants over a store in memory.
func newWorld(t testing.TB, codes ...string) *world {
	t.Helper()
	return newWorldOver(t, memory.New(), tenantry.Config{}, codes...)
}

func newWorldOver(t testing.TB, src driver.Source, cfg tenantry.Config, codes ...string) *world {
	t.Helper()
	w := &world{TB: t}
	cfg.Store = worldtest.Wrapped(src, func(e driver.Engine) driver.Engine {
		w.engine = &spy{Engine: e}
		return w.engine
	})
	clock := tenantrytest.NewClock()
	var err error
	if w.idp, err = auth.NewKeyring(auth.KeyringOptions{Issuer: external, Audience: external, Now: clock.Now}); err != nil {
		t.Fatal(err)
	}
	cfg.Now, cfg.Issuers = clock.Now, []auth.Issuer{{Name: external, Audience: external, Keys: w.idp}}
	w.App = tenantrytest.New(t, cfg)
	w.App.Clock = clock
	w.App.Tenant(codes...)
	return w
}

// rows returns the rows of a collection whose PK begins with a prefix.
func (w *world) rows(c driver.Collection, prefix string) []*record.Record {
	w.Helper()
	var all []*record.Record
	for after := (driver.Ref{}); ; {
		page, err := w.engine.Engine.Scan(context.Background(), c, after, 500)
		if err != nil {
			w.Fatal(err)
		}
		for _, r := range page {
			after = driver.RefOf(c, r)
			if strings.HasPrefix(r.PK, prefix) {
				all = append(all, r)
			}
		}
		if len(page) < 500 {
			return all
		}
	}
}

// holds reports whether any row of the store has text in it.
func (w *world) holds(text string) bool {
	w.Helper()
	for _, c := range driver.Collections() {
		for _, r := range w.rows(c, "") {
			if strings.Contains(string(record.AppendDoc(nil, r)), text) {
				return true
			}
		}
	}
	return false
}

// check compares the memberships with what stands beside them: at most one default of a user, which its row names; the inverse;
// the count of admins.
func (w *world) check() {
	w.Helper()
	type attributes struct {
		Role       string `json:"role"`
		TenantCode string `json:"tenantCode"`
		IsDefault  bool   `json:"isDefault"`
		Admins     int    `json:"admins"`
	}
	decode := func(r *record.Record) (a attributes) {
		if err := r.Attributes.Decode(&a); err != nil {
			w.Fatal(err)
		}
		return a
	}
	defaults, admins, inverse := map[string][]string{}, map[string]int{}, map[string]bool{}
	for _, r := range w.rows(driver.Data, "USER_TENANT#common") {
		code, user, _ := strings.Cut(r.SK, "#")
		a := decode(r)
		if a.IsDefault && !r.IsDeleted {
			defaults[hash(user)] = append(defaults[hash(user)], code)
		}
		if !r.IsDeleted {
			inverse["MEMBER_OF#common#"+hash(user)+" / "+code] = true
			if a.Role == members.Admin {
				admins[code]++
			}
		}
	}
	kept := map[string]bool{}
	for _, r := range w.rows(driver.System, "MEMBER_OF#") {
		kept[r.PK+" / "+r.SK] = true
	}
	if !maps.Equal(kept, inverse) {
		w.Errorf("the inverse holds %v, the memberships are %v", sorted(kept), sorted(inverse))
	}
	named := map[string]string{}
	for _, r := range w.rows(driver.System, "DEFAULT_TENANT#") {
		if code := decode(r).TenantCode; code != "" {
			named[r.SK] = code
		}
	}
	for user, codes := range defaults {
		if len(codes) > 1 || codes[0] != named[user] {
			w.Errorf("a user has the defaults %v; its row names %q", codes, named[user])
		}
	}
	if len(named) != len(defaults) {
		w.Errorf("rows name the defaults %v, the memberships %v", named, defaults)
	}
	counted := map[string]int{}
	for _, r := range w.rows(driver.System, "ADMINS#") {
		code := strings.TrimPrefix(r.PK, "ADMINS#")
		if counted[code] = decode(r).Admins; counted[code] < 1 {
			w.Errorf("%s has %d admins", code, counted[code])
		}
	}
	if !maps.Equal(counted, admins) {
		w.Errorf("the counts of admins are %v, the admins %v", counted, admins)
	}
}

func sorted(set map[string]bool) []string {
	var all []string
	for s := range set {
		all = append(all, s)
	}
	sort.Strings(all)
	return all
}

// add makes a user a member, as its admin did.
func (w *world) add(code, user, role string) members.Membership {
	w.Helper()
	m, _, err := w.Members().Add(w.Context(), w.Scope(code), members.Add{UserCode: user, Role: role})
	if err != nil {
		w.Fatalf("add %s to %s: %v", user, code, err)
	}
	return m
}

func (w *world) remove(code, user string) {
	w.Helper()
	if _, _, err := w.Members().Remove(w.Context(), w.Scope(code), user); err != nil {
		w.Fatalf("remove %s from %s: %v", user, code, err)
	}
}

// principal returns who a token of the built-in issuer speaks for: a user with the code and the subject user.
func (w *world) principal(user string) *auth.Principal {
	w.Helper()
	return w.verified(w.Token(auth.Claims{Subject: "sub-" + hash(user)[:8], UserCode: user, TTL: 24 * time.Hour}))
}

func (w *world) verified(token string) *auth.Principal {
	w.Helper()
	p, err := w.Verifier().Verify(w.Context(), token)
	if err != nil {
		w.Fatalf("verify: %v", err)
	}
	return p
}

// admitted returns what the guard says of a token that reads or writes records of its tenant: "" for admitted, and the role.
func (w *world) admitted(token string) (role string, refused fault.Code) {
	w.Helper()
	p, err := w.Verifier().Verify(w.Context(), token)
	if err != nil {
		return "", fault.CodeOf(err)
	}
	r := &guard.Request{Principal: p, Policy: guard.Policy{Reach: guard.Tenant}}
	_, err = w.Guard().Admit(w.Context(), r)
	return r.Actor.Role, fault.CodeOf(err)
}

// must fails the test unless a token is admitted with a role.
func (w *world) must(what, token, role string) {
	w.Helper()
	if got, code := w.admitted(token); got != role || code != "" {
		w.Errorf("%s: %q, refused %q; want %q", what, got, code, role)
	}
}

// mustNot fails the test unless a token is refused with a code.
func (w *world) mustNot(what, token string, want fault.Code) {
	w.Helper()
	if role, code := w.admitted(token); code != want {
		w.Errorf("%s: %q, refused %q; want %q", what, role, code, want)
	}
}

func code(text string) tenant.Code {
	c, err := tenant.Parse(text)
	if err != nil {
		panic(err)
	}
	return c
}

// refused fails the test unless err has the code.
func refused(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v; want %v", what, err, want)
	}
}

// hash is the hex SHA-256 that names a user code in keys.
func hash(userCode string) string {
	sum := sha256.Sum256([]byte(userCode))
	return hex.EncodeToString(sum[:])
}

func pointer[T any](v T) *T { return &v }
