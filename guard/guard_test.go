package guard_test

import (
	"testing"

	"github.com/tenantry/tenantry/guard"
)

// Policies as operations declare them.
var (
	records = guard.Policy{Reach: guard.Tenant}
	audits  = guard.Policy{Reach: guard.Tenant, Roles: []string{"admin"}}
	shared  = guard.Policy{Reach: guard.Shared}
	me      = guard.Policy{Reach: guard.Self}
	manage  = guard.Policy{Reach: guard.Admin}
	read    = guard.Policy{Reach: guard.Admin, Members: true}
	inside  = guard.Policy{Reach: guard.Admin, Roles: []string{"admin"}}
	group   = guard.Policy{Reach: guard.Admin, Roles: []string{"admin"}, TargetInBody: true}
	system  = guard.Policy{Reach: guard.AllTenants}
)

func header(text string) func(*ask) { return func(a *ask) { a.header = &text } }
func path(codes ...string) func(*ask) {
	return func(a *ask) { a.named.Codes = append(a.named.Codes, codes...) }
}
func pk(pks ...string) func(*ask)      { return func(a *ask) { a.named.PKs = append(a.named.PKs, pks...) } }
func id(ids ...string) func(*ask)      { return func(a *ask) { a.named.IDs = append(a.named.IDs, ids...) } }
func body(m guard.Mentions) func(*ask) { return func(a *ask) { a.body = &m } }
func single(a *ask)                    { a.single = true }

func codes(c ...string) guard.Mentions { return guard.Mentions{Codes: c} }

// TestDecisions goes through sections 1 and 2 of the contract, sentence by sentence.
func TestDecisions(t *testing.T) {
	w := newWorld(t)
	type row struct {
		caller caller
		policy guard.Policy
		want   string
		parts  []func(*ask)
	}
	at := func(c caller, p guard.Policy, want string, parts ...func(*ask)) row { return row{c, p, want, parts} }
	for section, rows := range map[string][]row{
		"acting tenant, from the claim": {
			at(who("user@alpha"), records, "alpha"),
			at(who("user@gone"), records, "tenant_forbidden"),
			at(who("user@nobody"), records, "tenant_forbidden"),
			at(who("user@halted"), records, "tenant_suspended"),
			at(who("user@single"), records, "tenant_forbidden"),
			at(who("user@common"), records, "tenant_forbidden"),
			at(who("user@shared"), records, "tenant_forbidden"),
			at(who("user"), records, "tenant_required"),
		},
		"acting tenant, from the header without a bound claim": {
			at(who("user"), records, "tenant_forbidden", header("alpha")),
			at(who("user"), records, "tenant_forbidden", header("nobody")),
			at(who("user"), records, "tenant_forbidden", header("single")),
			at(who("user"), records, "tenant_forbidden", header("common")),
			at(who("user"), shared, "common, shared records only", header("common")),
			at(who("user"), shared, "common, shared records only", header("SHARED")),
			at(who("system_admin"), records, "bravo, audited bravo", header("bravo")),
			at(who("system_admin"), records, "bravo, audited bravo", header("BRAVO")),
			at(who("system_admin"), records, "common, audited common", header("shared")),
			at(who("support"), records, "bravo, audited bravo", header("bravo")),
		},
		"acting tenant, from a header beside a bound claim": {
			at(who("user@alpha"), records, "alpha", header("Alpha")),
			at(who("user@alpha"), records, "tenant_mismatch", header("bravo")),
			at(who("user@alpha"), records, "tenant_mismatch", header("nobody")),
			at(who("user@alpha"), shared, "tenant_mismatch", header("common")),
			at(who("user@common"), shared, "common, shared records only", header("shared")),
			at(who("system_admin@alpha"), records, "alpha", header("alpha")),
			at(who("system_admin@alpha"), records, "bravo, audited bravo", header("bravo")),
			at(who("system_admin@alpha"), records, "tenant_suspended", header("halted")),
			at(who("system_admin@alpha"), records, "tenant_forbidden", header("gone")),
			at(who("system_admin@alpha"), records, "tenant_forbidden", header("nobody")),
			at(who("support@alpha"), records, "bravo, audited bravo", header("bravo")),
		},
		"a header that is none": {
			at(who("user@alpha"), records, "invalid_key", header("")),
			at(who("user@alpha"), records, "invalid_key", header(" alpha")),
			at(who("user@alpha"), records, "invalid_key", header("alpha, bravo")),
			at(who("user@alpha"), me, "invalid_key", header("\u212ailo")),
			at(who("system_admin"), system, "invalid_key", header("*")),
		},
		"single-tenant mode": {
			at(who("user"), records, "single", single),
			at(who("user@alpha"), records, "alpha", single),
			at(who("user"), records, "tenant_forbidden", single, header("single")),
			at(who("user"), records, "single", single, path("single")),
			at(who("user"), records, "tenant_forbidden", single, path("alpha")),
			at(who("user"), shared, "common, shared records only", single),
			at(who("user"), shared, "common, shared records only", single, header("common")),
			at(who("system_admin"), records, "single", single),
			at(who("system_admin"), records, "alpha, audited alpha", single, header("alpha")),
			at(who("user").by(wide), records, "single", single),
			at(who("user").by(narrow), records, "tenant_forbidden", single),
			at(who("user@alpha").by(narrow), records, "alpha", single),
		},
		"an issuer and the tenants that it may assert": {
			at(who("user@bravo").by(wide), records, "bravo"),
			at(who("user@alpha").by(narrow), records, "alpha"),
			at(who("user@bravo").by(narrow), records, "tenant_forbidden"),
			at(who("user@bravo").by(narrow), me, "tenant_forbidden"),
			at(who("user@bravo").by(narrow), records, "tenant_forbidden", header("bravo")),
			at(who("user@bravo").by(narrow), records, "tenant_forbidden", header("alpha")),
			at(who("user").by(narrow), shared, "common, shared records only", header("common")),
			at(who("user@alpha").by(narrow), shared, "common, shared records only"),
		},
		"an issuer without the right to cross-tenant roles": {
			at(who("system_admin@alpha").by(narrow), records, "alpha"),
			at(who("system_admin@alpha").by(narrow), records, "tenant_mismatch", header("bravo")),
			at(who("system_admin@alpha").by(narrow), records, "tenant_forbidden", path("bravo")),
			at(who("system_admin@alpha").by(narrow), system, "role_required"),
			at(who("system_admin").by(narrow), manage, "tenant_required"),
			at(who("system_admin@alpha").by(odd), records, "bravo, audited bravo", header("bravo")),
			at(who("system_admin@bravo").by(odd), records, "tenant_forbidden", header("alpha")),
			at(who("system_admin@alpha").by(wide), records, "bravo, audited bravo", header("bravo")),
		},
		"a token of an external issuer that is older than its tenant": {
			at(who("user@charlie").by(wide).at(early), records, "unauthenticated"),
			at(who("user@charlie").by(wide).at(early), shared, "unauthenticated"),
			at(who("user@charlie").by(wide).at(punctual), records, "charlie"),
			at(who("user@charlie").at(early), records, "charlie"),
			at(who("user@charlie").by(wide).at(early), me, "nothing"),
			at(who("user@alpha").by(wide).at(early), records, "alpha"),
			at(who("system_admin").by(wide).at(early), records, "unauthenticated", header("charlie")),
			at(who("system_admin").by(wide).at(early), records, "charlie, audited charlie", path("charlie")),
		},
		"mentions, by an ordinary caller": {
			at(who("user@alpha"), records, "alpha", path("ALPHA"), pk("PRODUCT#Alpha", "LOG#alpha#2026-11"), id("PRODUCT#alpha#1")),
			at(who("user@alpha"), records, "tenant_forbidden", path("bravo")),
			at(who("user@alpha"), records, "tenant_forbidden", path("nobody")),
			at(who("user@alpha"), records, "tenant_forbidden", path("alpha", "bravo")),
			at(who("user@alpha"), records, "tenant_forbidden", pk("PRODUCT#bravo")),
			at(who("user@alpha"), records, "tenant_forbidden", pk("PRODUCT#bravo#alpha")),
			at(who("user@alpha"), records, "alpha", pk("PRODUCT#alpha#bravo")),
			at(who("user@alpha"), records, "tenant_forbidden", id("PRODUCT#bravo#alpha")),
			at(who("user@alpha"), records, "tenant_forbidden", path("common")),
			at(who("user@alpha"), records, "tenant_forbidden", pk("TEMPLATE#shared")),
			at(who("user@alpha"), me, "tenant_forbidden", path("bravo")),
			at(who("user"), me, "tenant_forbidden", path("bravo")),
			at(who("user"), records, "tenant_forbidden", path("alpha")),
			at(who("user@halted"), records, "tenant_forbidden", path("bravo")),
		},
		"malformed mentions come first": {
			at(who("user@alpha"), records, "invalid_key", path("")),
			at(who("user@alpha"), records, "invalid_key", path("bravo", "no such code")),
			at(who("user@alpha"), records, "invalid_key", path("bravo"), pk("PRODUCT")),
			at(who("user@alpha"), records, "invalid_key", path("bravo"), id("PRODUCT#alpha")),
			at(who("user@alpha"), records, "invalid_key", pk("PRODUCT#")),
			at(who("user@alpha"), records, "invalid_key", pk("product#alpha")),
			at(who("user@halted"), records, "invalid_key", pk("#alpha")),
			at(who("user"), records, "invalid_key", id("")),
			at(who("system_admin"), system, "invalid_key", path("a#b")),
		},
		"mentions, by a system admin": {
			at(who("system_admin"), records, "tenant_required"),
			at(who("system_admin"), records, "bravo, audited bravo", path("bravo")),
			at(who("system_admin@alpha"), records, "bravo, audited bravo", path("bravo")),
			at(who("system_admin@alpha"), records, "bravo, audited bravo", header("bravo"), pk("PRODUCT#bravo")),
			at(who("system_admin@alpha"), records, "alpha", path("alpha")),
			at(who("system_admin"), records, "halted, audited halted", path("halted")),
			at(who("system_admin"), records, "tenant_forbidden", path("nobody")),
			at(who("system_admin"), records, "tenant_forbidden", path("gone")),
			at(who("system_admin"), me, "tenant_forbidden", path("nobody")),
			at(who("system_admin"), records, "common, audited common", path("shared"), pk("X#COMMON")),
			at(who("system_admin"), records, "tenant_conflict", path("alpha", "bravo")),
			at(who("system_admin"), records, "tenant_conflict", header("alpha"), path("bravo")),
			at(who("system_admin"), records, "tenant_conflict", path("alpha"), pk("PRODUCT#bravo")),
			at(who("system_admin"), records, "tenant_conflict", path("alpha"), id("PRODUCT#bravo#1")),
			at(who("system_admin"), records, "tenant_conflict", path("alpha", "common")),
			at(who("system_admin"), records, "tenant_forbidden", path("alpha", "nobody")),
			at(who("system_admin"), records, "tenant_forbidden", path("nobody", "alpha")),
			at(who("system_admin"), records, "tenant_forbidden", header("nobody"), path("alpha")),
			at(who("system_admin"), records, "tenant_forbidden", path("alpha", "bravo", "nobody")),
			at(who("system_admin"), system, "tenant_conflict", header("alpha"), path("bravo")),
		},
		"common": {
			at(who("user@alpha"), shared, "common, shared records only"),
			at(who("user@alpha"), shared, "common, shared records only", path("common")),
			at(who("user@alpha"), shared, "common, shared records only", pk("TEMPLATE#COMMON")),
			at(who("user@alpha"), shared, "common, shared records only", path("alpha")),
			at(who("user@alpha"), shared, "tenant_conflict", path("alpha", "common")),
			at(who("user@alpha"), shared, "tenant_forbidden", path("bravo")),
			at(who("user@alpha"), shared, "tenant_forbidden", path("common", "bravo")),
			at(who("user@common"), shared, "common, shared records only"),
			at(who("user@halted"), shared, "tenant_suspended"),
			at(who("user@gone"), shared, "tenant_forbidden"),
			at(who("user"), shared, "tenant_required"),
			at(who("user"), shared, "tenant_required", path("common")),
			at(who("system_admin"), shared, "common, shared records only"),
			at(who("system_admin@halted"), shared, "tenant_suspended"),
			at(who("admin@common"), audits, "tenant_forbidden"),
			at(who("admin@common"), inside, "tenant_forbidden"),
			at(who("admin@common"), read, "tenant_forbidden"),
			at(who("support"), records, "tenant_forbidden", header("common")),
			at(who("support"), records, "tenant_forbidden", path("shared")),
			at(who("support@alpha"), inside, "tenant_forbidden", path("common")),
			at(who("system_admin"), manage, "common, system, audited common", path("common")),
		},
		"roles": {
			at(who("user@alpha"), audits, "role_required"),
			at(who("admin@alpha"), audits, "alpha"),
			at(who("admin"), audits, "tenant_required"),
			at(caller{bound: "alpha", roles: []string{"admin"}}, audits, "alpha"),
			at(caller{bound: "alpha", roles: []string{"admin", "alpha:user"}}, audits, "role_required"),
			at(caller{bound: "alpha", roles: []string{"user", "alpha:user", "alpha:admin"}}, audits, "alpha"),
			at(caller{bound: "alpha", roles: []string{"bravo:admin"}}, audits, "role_required"),
			at(caller{bound: "alpha"}, records, "alpha"),
			at(who("system_admin@alpha"), audits, "alpha"),
			at(who("system_admin"), audits, "bravo, audited bravo", path("bravo")),
			at(who("user@alpha"), guard.Policy{Reach: guard.Shared, Roles: []string{"admin"}}, "role_required"),
			at(who("admin@alpha"), guard.Policy{Reach: guard.Shared, Roles: []string{"admin"}}, "common, shared records only"),
			at(caller{bound: "alpha", roles: []string{"common:admin", "alpha:user"}}, guard.Policy{Reach: guard.Shared, Roles: []string{"admin"}}, "role_required"),
		},
		"another cross-tenant role is one like any other at home, and the only one elsewhere": {
			at(who("support@alpha"), records, "alpha"),
			at(who("support@alpha").with("alpha:admin"), audits, "alpha"),
			at(who("support@alpha").with("admin"), audits, "role_required", header("bravo")),
			at(who("support@alpha").with("bravo:admin"), audits, "role_required", header("bravo")),
			at(who("support@alpha"), guard.Policy{Reach: guard.Tenant, Roles: []string{"support"}}, "bravo, audited bravo", header("bravo")),
			at(who("support@alpha"), guard.Policy{Reach: guard.Tenant, Roles: []string{"support"}}, "alpha"),
			at(who("support@alpha").with("alpha:user"), guard.Policy{Reach: guard.Tenant, Roles: []string{"support"}}, "role_required"),
			at(who("support@alpha"), read, "alpha"),
			at(who("support@alpha"), read, "role_required", path("bravo")),
			at(who("support"), manage, "role_required", path("bravo")),
			at(who("support@gone"), manage, "tenant_conflict", path("gone", "alpha")),
			at(who("support@gone"), manage, "tenant_conflict", path("alpha", "gone")),
			at(who("support"), system, "role_required"),
			at(who("support@alpha"), system, "role_required"),
			at(who("support").with("system_admin"), system, "nothing, system"),
			at(who("support@alpha").with("alpha:admin"), guard.Policy{Reach: guard.Shared, Roles: []string{"admin"}}, "common, shared records only"),
		},
		"operations that manage tenants": {
			at(who("system_admin"), manage, "bravo, system, audited bravo", path("bravo")),
			at(who("system_admin"), manage, "nobody, system, audited nobody", pk("TENANT#nobody")),
			at(who("system_admin@halted"), manage, "halted, system, audited halted", path("halted")),
			at(who("system_admin@nobody"), manage, "gone, system, audited gone", path("gone")),
			at(who("system_admin@alpha"), manage, "alpha, system, audited alpha", path("alpha")),
			at(who("system_admin"), manage, "tenant_conflict", path("bravo", "alpha")),
			at(who("admin@alpha"), manage, "role_required", path("alpha")),
			at(who("admin@alpha"), manage, "tenant_forbidden", path("bravo")),
			at(who("user@alpha"), read, "alpha", path("alpha")),
			at(who("user@alpha"), read, "tenant_forbidden", path("bravo")),
			at(who("user@halted"), read, "tenant_suspended", path("halted")),
			at(who("user"), read, "tenant_forbidden", path("bravo")),
			at(who("user"), read, "tenant_required"),
			at(who("admin@alpha"), inside, "alpha", path("alpha")),
			at(who("user@alpha"), inside, "role_required", path("alpha")),
			at(who("admin@alpha"), inside, "tenant_forbidden", path("bravo")),
		},
		"operations across tenants": {
			at(who("system_admin"), system, "nothing, system"),
			at(who("system_admin@halted"), system, "nothing, system"),
			at(who("system_admin@alpha"), system, "nothing, system", header("nobody")),
			at(who("admin@alpha"), system, "role_required"),
			at(who("admin@alpha"), guard.Policy{Reach: guard.AllTenants, Roles: []string{"admin"}}, "role_required"),
			at(who("support"), guard.Policy{Reach: guard.AllTenants, Roles: []string{"support"}}, "role_required"),
			at(who("user"), system, "tenant_required"),
			at(who("user@gone"), system, "tenant_forbidden"),
		},
		"no policy": {
			at(who("system_admin"), guard.Policy{}, "role_required"),
			at(who("admin@alpha"), guard.Policy{Roles: []string{"admin"}, Members: true}, "role_required"),
			at(who("admin@alpha"), guard.Policy{Reach: guard.AllTenants + 1, Roles: []string{"admin"}}, "role_required"),
			at(who("system_admin@alpha"), guard.Policy{Reach: guard.AllTenants + 1}, "role_required"),
		},
		"oneself": {
			at(who("user"), me, "nothing"),
			at(who("user@alpha"), me, "nothing"),
			at(who("user@gone"), me, "nothing"),
			at(who("user@halted"), me, "nothing"),
			at(who("user@alpha"), me, "tenant_mismatch", header("bravo")),
			at(who("system_admin"), me, "nothing", header("bravo")),
		},
		"tenants in the body": {
			at(who("user@alpha"), records, "alpha", body(codes("Alpha"))),
			at(who("user@alpha"), records, "alpha", body(guard.Mentions{PKs: []string{"PRODUCT#alpha"}, IDs: []string{"PRODUCT#alpha#1"}})),
			at(who("user@alpha"), records, "tenant_forbidden", body(codes("bravo"))),
			at(who("user@alpha"), records, "tenant_forbidden", body(guard.Mentions{Codes: []string{"alpha"}, PKs: []string{"PRODUCT#bravo"}})),
			at(who("user@alpha"), records, "tenant_forbidden", body(guard.Mentions{IDs: []string{"PRODUCT#bravo#1"}})),
			at(who("user@alpha"), records, "tenant_forbidden", body(codes("common"))),
			at(who("user@alpha"), records, "invalid_key", body(codes("bravo", ""))),
			at(who("user@alpha"), records, "invalid_key", body(guard.Mentions{PKs: []string{"PRODUCT#bravo", "PRODUCT"}})),
			at(who("system_admin@alpha"), records, "alpha", body(codes("alpha"))),
			at(who("system_admin@alpha"), records, "tenant_conflict", body(codes("bravo"))),
			at(who("system_admin@alpha"), records, "tenant_forbidden", body(codes("nobody"))),
			at(who("system_admin@alpha"), records, "tenant_forbidden", body(codes("bravo", "nobody"))),
			at(who("system_admin"), records, "bravo, audited bravo", path("bravo"), body(codes("bravo"))),
			at(who("system_admin"), records, "tenant_conflict", path("bravo"), body(codes("alpha"))),
			at(who("system_admin"), records, "tenant_required", body(codes("alpha"))),
			at(who("system_admin"), manage, "tenant_conflict", path("bravo"), body(codes("alpha"))),
			at(who("system_admin"), manage, "bravo, system, audited bravo", path("bravo"), body(guard.Mentions{PKs: []string{"TENANT#bravo"}})),
		},
		"the body names the tenant that is managed": {
			at(who("system_admin"), group, "bravo, system, audited bravo", body(codes("BRAVO"))),
			at(who("system_admin@alpha"), group, "bravo, system, audited bravo", body(codes("bravo"))),
			at(who("system_admin@alpha"), group, "alpha, system, audited alpha", body(codes("alpha"))),
			at(who("system_admin"), group, "nobody, system, audited nobody", body(codes("nobody"))),
			at(who("system_admin"), group, "bravo, system, audited bravo", header("bravo"), body(codes("bravo"))),
			at(who("system_admin"), group, "tenant_conflict", header("alpha"), body(codes("bravo"))),
			at(who("system_admin"), group, "tenant_conflict", path("alpha"), body(codes("bravo"))),
			at(who("system_admin"), group, "tenant_conflict", body(guard.Mentions{Codes: []string{"alpha"}, PKs: []string{"TENANT#bravo"}})),
			at(who("system_admin"), group, "nothing, system", body(codes())),
			at(who("admin@alpha"), group, "alpha", body(codes("alpha"))),
			at(who("admin@alpha"), group, "tenant_forbidden", body(codes("bravo"))),
			at(who("admin@alpha"), group, "tenant_forbidden", body(guard.Mentions{Codes: []string{"alpha"}, IDs: []string{"TENANT#bravo#MASTER"}})),
			at(who("user@alpha"), group, "role_required", body(codes("alpha"))),
			at(who("support@alpha"), group, "role_required", header("bravo"), body(codes("bravo"))),
		},
		"a body across tenants agrees with itself and with the header": {
			at(who("system_admin"), system, "nothing, system", body(codes("delta"))),
			at(who("system_admin@alpha"), system, "nothing, system", body(guard.Mentions{Codes: []string{"delta"}, PKs: []string{"TENANT#delta"}})),
			at(who("system_admin@alpha"), system, "tenant_conflict", header("alpha"), body(codes("delta"))),
			at(who("system_admin"), system, "tenant_conflict", body(guard.Mentions{Codes: []string{"delta"}, PKs: []string{"TENANT#bravo"}})),
		},
	} {
		t.Run(section, func(t *testing.T) {
			w.TB = t
			for _, row := range rows {
				a := ask{policy: row.policy}
				for _, part := range row.parts {
					part(&a)
				}
				if got, _ := w.decide(row.caller, a); got.String() != row.want {
					t.Errorf("%v, %v: %v; want %s", row.caller, a, got, row.want)
				}
			}
		})
	}
}
