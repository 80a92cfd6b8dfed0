package proof_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/auth"
)

// bound is how long after its acknowledgement a change may not yet count in another process.
const bound = time.Second

// workers is how many tenants are changed and asked at a time: each is the load of all others.
const workers = 8

// pair is two processes on one store: here changes are made, there they must count soon.
type pair struct {
	here, there string
	client      *http.Client
	keyring     *auth.Keyring
	admin       string // the token of a system admin
}

func newPair(t *testing.T, feed string) *pair {
	t.Helper()
	dir := t.TempDir()
	n, err := open(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.close(); err != nil {
			t.Error(err)
		}
	})
	p := &pair{here: n.url, keyring: n.app.Keyring(), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 10 * time.Second}}
	t.Cleanup(p.client.CloseIdleConnections)
	p.admin = p.token(t, auth.Claims{Subject: "root", Role: "system_admin"})
	p.there = otherProcess(t, dir, feed)
	for n := range workers {
		p.must(t, "POST", "/api/tenant", fmt.Sprintf(`{"code":%q,"name":"N"}`, tenantOf(n)))
		p.must(t, "POST", "/api/tenants/"+tenantOf(n)+"/users", `{"userCode":"keeper","role":"admin"}`)
	}
	return p
}

func tenantOf(worker int) string { return fmt.Sprint("t", worker) }

func (p *pair) token(t *testing.T, c auth.Claims) string {
	t.Helper()
	c.TTL = 3 * time.Hour
	token, err := p.keyring.Issue(c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// send returns the status and the body of an answer.
func (p *pair) send(ctx context.Context, token, method, url, body string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := p.client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

// change sends a system admin's request here.
func (p *pair) change(ctx context.Context, method, path, body string) error {
	status, text, err := p.send(ctx, p.admin, method, p.here+path, body)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("%s %s %s is answered %d %s", method, path, body, status, text)
	}
	return err
}

func (p *pair) must(t *testing.T, method, path, body string) {
	t.Helper()
	if err := p.change(t.Context(), method, path, body); err != nil {
		t.Fatal(err)
	}
}

// member makes a user a member of a tenant and returns a token from switching to it.
func (p *pair) member(ctx context.Context, code, userCode, role string) (string, error) {
	if err := p.change(ctx, "POST", "/api/tenants/"+code+"/users", fmt.Sprintf(`{"userCode":%q,"role":%q}`, userCode, role)); err != nil {
		return "", err
	}
	own, err := p.keyring.Issue(auth.Claims{Subject: userCode})
	if err != nil {
		return "", err
	}
	status, text, err := p.send(ctx, own, "POST", p.here+"/api/auth/switch-tenant", fmt.Sprintf(`{"tenantCode":%q}`, code))
	var session struct{ Token string }
	if err = errors.Join(err, json.Unmarshal([]byte(text), &session)); err == nil && status != http.StatusOK {
		err = fmt.Errorf("switching is answered %d %s", status, text)
	}
	return session.Token, err
}

// trial is one change and the request that it ends.
type trial struct {
	token, probe string                             // who asks what
	old          func(status int, text string) bool // the answer from before the change
	now          func(status int, text string) bool // and from after it
	apply        func(context.Context) error        // the change
	undo         func(context.Context) error        // nil for nothing
}

func answers(want int) func(int, string) bool {
	return func(status int, _ string) bool { return status == want }
}

// kinds are the changes that must count soon, by name: each makes the trial of a round.
var kinds = map[string]func(p *pair, ctx context.Context, code string, round int) (trial, error){
	"removal": func(p *pair, ctx context.Context, code string, round int) (trial, error) {
		user := fmt.Sprint("removed", round)
		token, err := p.member(ctx, code, user, "user")
		return trial{token: token, probe: "/api/data/PRODUCT", old: answers(200), now: answers(403),
			apply: func(ctx context.Context) error {
				return p.change(ctx, "DELETE", "/api/tenants/"+code+"/users/"+user, "")
			}}, err
	},
	"role change": func(p *pair, ctx context.Context, code string, round int) (trial, error) {
		user := fmt.Sprint("demoted", round)
		token, err := p.member(ctx, code, user, "admin")
		return trial{token: token, probe: "/api/tenants/" + code + "/invitations", old: answers(200), now: answers(403),
			apply: func(ctx context.Context) error {
				return p.change(ctx, "PATCH", "/api/tenants/"+code+"/users/"+user, `{"role":"user"}`)
			}}, err
	},
	"suspension": func(p *pair, ctx context.Context, code string, round int) (trial, error) {
		token, err := p.member(ctx, code, fmt.Sprint("suspended", round), "user")
		managed := "/api/admin/tenants/" + code
		return trial{token: token, probe: "/api/data/PRODUCT", old: answers(200), now: answers(403),
			apply: func(ctx context.Context) error { return p.change(ctx, "POST", managed+"/suspend", `{"reason":"r"}`) },
			undo:  func(ctx context.Context) error { return p.change(ctx, "POST", managed+"/resume", `{"reason":"r"}`) }}, err
	},
	"settings": func(p *pair, ctx context.Context, code string, round int) (trial, error) {
		shows := func(hour int) func(int, string) bool {
			return func(status int, text string) bool {
				return status == 200 && strings.Contains(text, fmt.Sprintf(`"Etc/GMT+%d"`, hour))
			}
		}
		path := "/api/tenants/" + code + "/settings"
		set := func(ctx context.Context, hour int) error {
			return p.change(ctx, "PATCH", path, fmt.Sprintf(`{"timezone":"Etc/GMT+%d"}`, hour))
		}
		before, after := 1+round%2, 2-round%2
		return trial{token: p.admin, probe: path, old: shows(before), now: shows(after),
			apply: func(ctx context.Context) error { return set(ctx, after) }}, set(ctx, before)
	},
	"revocation": func(p *pair, ctx context.Context, code string, round int) (trial, error) {
		user := fmt.Sprint("revoked-", code, "-", round)
		token, err := p.member(ctx, code, user, "user")
		return trial{token: token, probe: "/api/data/PRODUCT", old: answers(200), now: answers(401),
			apply: func(ctx context.Context) error {
				return p.change(ctx, "POST", "/api/admin/revocations", fmt.Sprintf(`{"issuer":%q,"sub":%q,"reason":"r"}`, p.keyring.Issuer(), user))
			}}, err
	},
}

// run plays a trial. It returns how long after the acknowledgement of the change the last answer from before it came from the other
// process: 0 for none. It fails where this process gave such an answer to a request that began after the acknowledgement.
func (p *pair) run(ctx context.Context, t trial) (late time.Duration, err error) {
	ctx, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	for _, at := range []string{p.there, p.here} { // both remember what was before
		if err := p.until(ctx, t, at, t.old); err != nil {
			return 0, err
		}
	}
	type last struct {
		began, ended time.Time // of the last answer from before
		err          error
	}
	var asking sync.WaitGroup
	done := make(chan struct{})
	ask := func(at string, out *last) {
		const enough = 10 // answers from after, one after the other
		tick := time.NewTicker(4 * time.Millisecond)
		defer tick.Stop()
		for after := 0; after < enough; {
			began := time.Now()
			status, text, err := p.send(ctx, t.token, "GET", at+t.probe, "")
			switch {
			case err != nil:
				out.err = err
				return
			case t.old(status, text):
				*out, after = last{began: began, ended: time.Now()}, 0
			case !t.now(status, text):
				out.err = fmt.Errorf("GET %s is answered %d %s", t.probe, status, text)
				return
			default:
				select {
				case <-done: // what is answered while the change is under way says nothing
					after++
				default:
				}
			}
			<-tick.C
		}
	}
	var here, there last
	asking.Go(func() { ask(p.here, &here) })
	asking.Go(func() { ask(p.there, &there) })
	<-time.After(rand.N(150 * time.Millisecond)) // at no fixed moment between two looks of the other process
	err = t.apply(ctx)
	at := time.Now()
	close(done)
	if err != nil {
		stop()
	}
	asking.Wait()
	if t.undo != nil {
		err = errors.Join(err, t.undo(ctx))
	}
	if err = errors.Join(err, here.err, there.err); err != nil {
		return 0, err
	}
	if here.began.After(at) {
		return 0, fmt.Errorf("the process that made the change answered as before to a request %v after its acknowledgement", here.began.Sub(at))
	}
	return max(0, there.ended.Sub(at)), nil
}

// until asks until the answer is as wanted.
func (p *pair) until(ctx context.Context, t trial, at string, wanted func(int, string) bool) error {
	tick := time.NewTicker(4 * time.Millisecond)
	defer tick.Stop()
	for {
		status, text, err := p.send(ctx, t.token, "GET", at+t.probe, "")
		if err != nil || wanted(status, text) {
			return err
		}
		<-tick.C
	}
}

// rounds plays trials of a kind, in several tenants at a time, and returns how late each was.
func (p *pair) rounds(ctx context.Context, kind string, count int) (late []time.Duration, failed error) {
	var mu sync.Mutex
	var working sync.WaitGroup
	for worker := range workers {
		working.Go(func() {
			for round := worker; round < count; round += workers {
				t, err := kinds[kind](p, ctx, tenantOf(worker), round)
				var took time.Duration
				if err == nil {
					took, err = p.run(ctx, t)
				}
				mu.Lock()
				if err == nil && took > bound {
					err = fmt.Errorf("%w: %v after the acknowledgement", errLate, took)
				}
				if late = append(late, took); err != nil {
					failed = errors.Join(failed, fmt.Errorf("round %d: %w", round, err))
				}
				ended := failed != nil
				mu.Unlock()
				if ended {
					return
				}
			}
		})
	}
	working.Wait()
	return late, failed
}

var errLate = errors.New("the other process answered as before")

// TestEffect changes what requests depend on in one process, and wants it to count at once there and within a second in another.
func TestEffect(t *testing.T) {
	count := 1000 / 20
	if os.Getenv("TENANTRY_LONG_RUN") != "" {
		count = 1000
	}
	p := newPair(t, "")
	names := []string{"removal", "role change", "suspension", "settings", "revocation"}
	rand.New(rand.NewPCG(seed(t), 0)).Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, kind := range names {
		late, err := p.rounds(t.Context(), kind, count)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		slices.Sort(late)
		t.Logf("measured: %d of %s: the other process followed after %v at worst, %v in the median", count, kind, late[len(late)-1].Round(time.Millisecond), late[len(late)/2].Round(time.Millisecond))
	}
}

// TestEffectWithoutTheFeed wants a process that can't read the change feed to ask the store, and so to follow as soon.
func TestEffectWithoutTheFeed(t *testing.T) {
	p := newPair(t, "failing")
	for round, kind := range []string{"removal", "suspension", "settings", "revocation"} {
		trial, err := kinds[kind](p, t.Context(), tenantOf(0), round)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), 5*bound)
		if late, err := p.run(ctx, trial); err != nil || late > bound {
			t.Errorf("%s: followed after %v: %v", kind, late, err)
		}
		stop()
	}
}

// TestAnEffectThatIsMissedIsFound wants a process that notices nothing to be found.
func TestAnEffectThatIsMissedIsFound(t *testing.T) {
	p := newPair(t, "silent")
	trial, err := kinds["removal"](p, t.Context(), tenantOf(0), 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 2*bound)
	defer stop()
	if late, err := p.run(ctx, trial); err == nil && late <= bound {
		t.Errorf("a process that never looks followed after %v", late)
	}
}
