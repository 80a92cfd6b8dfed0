package crash_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/members"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// TestKillMembers kills the process that manages members: at any moment, and right before and after commits.
func TestKillMembers(t *testing.T) {
	rounds := 6
	if os.Getenv("TENANTRY_LONG_RUN") != "" {
		rounds = 50
	}
	v := newVictim(t, "members", "")
	kills := 0
	for ; kills < rounds || kills < 4*rounds && (v.loaded < rounds/2 || v.accepted == 0); kills++ { // chance says where each one hits
		if v.bug = ""; kills%2 == 1 {
			v.bug = "dying"
		}
		if err := v.round(t.Context()); err != nil {
			t.Fatalf("round %d: %v", kills, err)
		}
	}
	if v.loaded < rounds/2 || v.accepted == 0 {
		t.Errorf("only %d of %d rounds were under load, and %d invitations accepted: this proves little", v.loaded, kills, v.accepted)
	}
	t.Logf("measured: %d kills, %d of them under load, %d acknowledged changes of members found, %d invitations accepted, no membership is half one", kills, v.loaded, len(v.told), v.accepted)
}

// TestHalfMembershipsAreFound wants the harness to notice an engine that tears commits apart.
func TestHalfMembershipsAreFound(t *testing.T) {
	v := newVictim(t, "members", "torn")
	for range 20 {
		if err := v.round(t.Context()); err != nil {
			if !strings.Contains(err.Error(), "problems") {
				t.Fatalf("got %v, want an error that says problems", err)
			}
			return
		}
	}
	t.Fatal("20 rounds went by unnoticed")
}

const session = "SESSION" // the type of an acknowledgement of switching

// manage makes a random change of a random member, accepts an invitation, or switches.
func (w *writer) manage(ctx context.Context) (*acknowledgement, error) {
	w.count++
	code := tenantCodes[w.random.IntN(len(tenantCodes))]
	sc, user := worldtest.Scope(code), fmt.Sprint("user", w.random.IntN(12))
	s, role, is := w.app.Members(), []string{"user", "admin"}[w.random.IntN(2)], w.random.IntN(2) == 0
	var m members.Membership
	var err error
	switch w.random.IntN(8) {
	case 0, 1:
		m, _, err = s.Add(ctx, sc, members.Add{UserCode: user, Role: role, IsDefault: is})
	case 2, 3:
		m, _, err = s.Update(ctx, sc, user, members.Update{Role: &role, IsDefault: &is})
	case 4:
		m, _, err = s.Remove(ctx, sc, user)
	case 5, 6:
		m, err = w.accept(ctx, sc, user, role)
	default:
		return w.switches(ctx, sc)
	}
	if err != nil {
		return nil, err
	}
	return &acknowledgement{Tenant: code, Type: members.EntityType().String(), SK: m.UserCode, Version: m.Version}, nil
}

// accept invites a user and has them accept.
func (w *writer) accept(ctx context.Context, sc guard.Scope, user, role string) (members.Membership, error) {
	in, err := w.app.Members().Invite(ctx, sc, members.Invite{UserCode: user, Role: role})
	if err != nil {
		return members.Membership{}, err
	}
	p, err := principal(ctx, w.app, user)
	if err != nil {
		return members.Membership{}, err
	}
	return w.app.Members().Accept(ctx, p, sc.Actor(), in.ID, in.Secret)
}

// switches switches the writer's own user, whose membership nobody ends.
func (w *writer) switches(ctx context.Context, sc guard.Scope) (*acknowledgement, error) {
	user := fmt.Sprint("steady", w.number)
	if _, _, err := w.app.Members().Add(ctx, sc, members.Add{UserCode: user, Role: "user"}); err != nil && !errors.Is(err, fault.AlreadyExists) {
		return nil, err
	}
	p, err := principal(ctx, w.app, user)
	if err != nil {
		return nil, err
	}
	made, err := w.app.Members().Switch(ctx, p, sc.Tenant())
	if err != nil {
		return nil, err
	}
	return &acknowledgement{Tenant: made.TenantCode, Type: session, SK: user, Receipt: made.RefreshToken}, nil
}

func principal(ctx context.Context, app *tenantry.App, user string) (*auth.Principal, error) {
	token, err := app.Keyring().Issue(auth.Claims{Subject: user})
	if err != nil {
		return nil, err
	}
	return app.Verifier().Verify(ctx, token)
}

// seekMember returns an error unless an acknowledged change of a member, or session, is there.
func seekMember(ctx context.Context, app *tenantry.App, ack acknowledgement) error {
	if ack.Type == session {
		_, err := app.Members().Refresh(ctx, ack.Receipt)
		return err
	}
	sc := worldtest.Scope("common")
	key, err := record.NewKey(sc, members.EntityType(), ack.Tenant+record.Separator+ack.SK)
	if err != nil {
		return err
	}
	view, err := app.Store().In(sc)
	if err != nil {
		return err
	}
	rec, err := view.Get(ctx, key)
	if err == nil && (rec == nil || rec.Version < ack.Version) {
		err = errors.New("the acknowledged change of a member is lost")
	}
	return err
}

// wholeInvitations returns an error unless every invitation that was used began one life of a membership, and every such life was
// begun by one. It returns how many there are.
func wholeInvitations(ctx context.Context, app *tenantry.App) (count int, err error) {
	across, err := app.Store().Across(ctx, worldtest.System("look", nil))
	if err != nil {
		return 0, err
	}
	used, begun := map[string]int{}, map[string]map[string]bool{}
	for _, of := range []struct {
		collection driver.Collection
		pk         string
		each       func(rec *record.Record) error
	}{
		{driver.Data, "INVITATION#common", func(rec *record.Record) error {
			var a struct {
				TenantCode string `json:"tenantCode"`
				UserCode   string `json:"userCode"`
				AcceptedBy string `json:"acceptedBy"`
			}
			err := rec.Attributes.Decode(&a)
			if a.AcceptedBy != "" {
				used[a.TenantCode+record.Separator+a.UserCode]++
			}
			return err
		}},
		{driver.Command, "USER_TENANT#common", func(rec *record.Record) error {
			var a struct {
				UserID string `json:"userId"`
				Epoch  string `json:"epoch"`
			}
			err := rec.Attributes.Decode(&a)
			if a.UserID != "" { // only who accepts has one here
				if begun[rec.SK] == nil {
					begun[rec.SK] = map[string]bool{}
				}
				begun[rec.SK][a.Epoch] = true
			}
			return err
		}},
	} {
		for after := (driver.Ref{Collection: of.collection, PK: of.pk}); ; {
			rows, err := across.Scan(ctx, of.collection, after, 500)
			if err != nil {
				return 0, err
			}
			for _, rec := range rows {
				if after = driver.RefOf(of.collection, rec); rec.PK == of.pk {
					if err := of.each(rec); err != nil {
						return 0, err
					}
				}
			}
			if len(rows) < 500 || after.PK > of.pk {
				break
			}
		}
	}
	for member, lives := range begun {
		if used[member] != len(lives) {
			return 0, fmt.Errorf("%s has begun %d lives by invitation, and %d invitations say so", member, len(lives), used[member])
		}
		count += len(lives)
		delete(used, member)
	}
	if len(used) > 0 {
		return 0, fmt.Errorf("invitations were used, and nobody became a member: %v", used)
	}
	return count, nil
}
