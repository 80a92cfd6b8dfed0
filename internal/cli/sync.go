package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenantry/tenantry/client"
	"github.com/tenantry/tenantry/fault"
)

// syncVerb are the verbs that copy records between tenants.
type syncVerb struct {
	Plan   syncPlan   `cmd:"" help:"Plan the copying of records of one tenant to others."`
	Apply  syncApply  `cmd:"" help:"Apply exactly what was planned."`
	Resume syncResume `cmd:"" help:"Go on with a sync that was cancelled, interrupted or stood still."`
	Undo   syncUndo   `cmd:"" help:"Take back what a sync wrote."`
	Status syncStatus `cmd:"" help:"Show where a sync stands, and its plan."`
	List   syncList   `cmd:"" help:"List syncs, the newest first."`
	Cancel syncCancel `cmd:"" help:"Cancel a sync; what it has applied stays."`
	Drift  syncDrift  `cmd:"" help:"Report in what targets differ from a source; nothing is changed."`
	Rules  rulesVerb  `cmd:"" help:"Keep targets in step with a source."`
}

// copied says what is copied from whom to whom.
type copied struct {
	Source        code       `arg:"" help:"Code of the tenant that is copied from."`
	Type          entityType `arg:"" help:"Entity type, as PRODUCT."`
	Targets       []code     `arg:"" optional:"" help:"Codes of the tenants that are copied to."`
	AllTenants    bool       `help:"Copy to every active tenant, without the source and common."`
	Prefix        string     `placeholder:"TEXT" help:"Only records whose sort key begins with this."`
	OnConflict    string     `enum:"overwrite,skip,keep-local-changes" default:"overwrite" help:"What becomes of a record that the target has and that differs: overwrite, skip, or keep-local-changes, which overwrites only what a sync wrote. Defaults to overwrite."`
	Mapping       attributes `placeholder:"JSON" help:"How attributes are copied: {omit, rename, set, keep}; @FILE reads a file, - standard input."`
	OnlyOriginals bool       `help:"Leave out what a sync wrote in the source."`
	keepsAndWaits
}

// keepsAndWaits are the flags of verbs that order work.
type keepsAndWaits struct {
	Detach bool `help:"With --server: don't wait until it is done."`
	target
	output
}

func (v copied) request(in io.Reader, deletes bool) (client.SyncRequest, error) {
	r := client.SyncRequest{Source: v.Source.Code, EntityType: v.Type.String(), Prefix: v.Prefix, OnConflict: v.OnConflict, Deletes: deletes, NoCopies: v.OnlyOriginals}
	if v.AllTenants == (len(v.Targets) > 0) {
		return r, fault.Invalid("cli.sync", fault.Field{Field: "<targets>", Problem: "or --all-tenants is needed, one of them"})
	}
	for _, c := range v.Targets {
		r.Targets = append(r.Targets, c.Code)
	}
	mapping, err := object(v.Mapping, "--mapping", in)
	r.Mapping = mapping
	return r, err
}

// working calls use with a client whose server works on what is ordered: one that runs, or this process.
func (v keepsAndWaits) working(ctx context.Context, std IO, use func(*client.Client) error) (err error) {
	if v.Detach && v.Server == "" {
		return fault.Invalid("cli.sync", fault.Field{Field: "--detach", Problem: "goes with --server; without one, this process does the work"})
	}
	c, closed, err := v.connectWorking(ctx, std)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closed()) }()
	return use(c)
}

// watch waits until a sync is not worked on any more, shows how far it is, and prints what became of it.
func (v keepsAndWaits) watch(ctx context.Context, std IO, c *client.Client, id string, show func(io.Writer, client.Sync) error) error {
	if v.Detach {
		if v.JSON {
			return raw(std.Out, []byte(`{"id":`+strconv.Quote(id)+`}`))
		}
		_, err := fmt.Fprintf(std.Out, "ordered sync %s\n", printable(id))
		return err
	}
	s, err := follow(ctx, std.Err, v.JSON, c, id)
	if err != nil {
		return err
	}
	if v.JSON {
		err = raw(std.Out, s.JSON)
	} else {
		err = show(std.Out, s)
	}
	if err == nil && s.Status == "failed" {
		return errUnsynced
	}
	return err
}

// errUnsynced ends a run whose sync failed as a whole, which is printed by then.
var errUnsynced = errors.New("the sync failed")

// lookEvery is the time between two looks at where a sync stands.
const lookEvery = 100 * time.Millisecond

// follow waits until a sync is not worked on any more, and tells how far it is.
func follow(ctx context.Context, w io.Writer, plain bool, c *client.Client, id string) (client.Sync, error) {
	tell, end := newMeter(w, plain)
	defer end()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		s, err := c.Sync(ctx, id)
		if err != nil {
			return s, err
		}
		if s.Status != "cancelled" && s.Status != "failed" { // there the bar stays where it came to
			tell(progressOf(s))
		}
		if s.Over() {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, ctx.Err()
		case <-tick.C:
		}
	}
}

// progressOf returns how far a sync is: in planning by the targets that are planned, since how many records there are is known at the end only.
func progressOf(s client.Sync) progress {
	done, all := s.Synced+s.Unchanged+s.Skipped+s.Failed, s.Total
	p := progress{phase: s.Status, text: fmt.Sprintf("%d of %d records", done, all), over: s.Over()}
	if s.Status == "planning" || s.Status == "planned" {
		done, all = 0, int64(len(s.PerTenant))
		for _, t := range s.PerTenant {
			if t.Status != "planning" {
				done++
			}
		}
		p.text = fmt.Sprintf("%d records", s.Total)
	}
	p.share = float64(done) / float64(max(1, all))
	return p
}

type syncPlan struct {
	copied
	Deletes bool `help:"Delete copies whose record in the source is gone."`
	Apply   bool `help:"Apply the plan as soon as it is made."`
}

// Help implements kong.HelpProvider.
func (syncPlan) Help() string {
	return `Planning changes nothing. What is planned is printed, with an ID for the other verbs. Examples:

    tenantry sync plan acme PRODUCT bravo charlie
    tenantry sync plan common TEMPLATE --all-tenants --on-conflict keep-local-changes --deletes
    tenantry sync plan acme PRODUCT bravo --mapping '{"omit":["cost"],"keep":["stock"]}' --apply`
}

// Run runs the verb.
func (v syncPlan) Run(ctx context.Context, std IO) error {
	r, err := v.request(std.In, v.Deletes)
	if err != nil {
		return err
	}
	return v.working(ctx, std, func(c *client.Client) error {
		order, show := c.PlanSync, printPlan
		if v.Apply {
			order, show = c.RunSync, printOutcome
		}
		id, err := order(ctx, r)
		if err != nil {
			return err
		}
		return v.watch(ctx, std, c, id, show)
	})
}

// oneSync is the argument of verbs that order work on a sync.
type oneSync struct {
	ID string `arg:"" help:"ID of the sync."`
	keepsAndWaits
}

func (v oneSync) order(ctx context.Context, std IO, order func(*client.Client) (id string, err error)) error {
	return v.working(ctx, std, func(c *client.Client) error {
		id, err := order(c)
		if err != nil {
			return err
		}
		return v.watch(ctx, std, c, id, printOutcome)
	})
}

type syncApply struct{ oneSync }

// Help implements kong.HelpProvider.
func (syncApply) Help() string {
	return `A record that changed since it was planned is not overwritten: it fails, and the others don't. Example:

    tenantry sync apply 01KADVQ6Z7T8ZJ2F9Y3N4M5B6C`
}

// Run runs the verb.
func (v syncApply) Run(ctx context.Context, std IO) error {
	return v.order(ctx, std, func(c *client.Client) (string, error) { return v.ID, c.ApplySync(ctx, v.ID) })
}

type syncResume struct{ oneSync }

// Help implements kong.HelpProvider.
func (syncResume) Help() string {
	return `What was done is not done again. Example:

    tenantry sync resume 01KADVQ6Z7T8ZJ2F9Y3N4M5B6C`
}

// Run runs the verb.
func (v syncResume) Run(ctx context.Context, std IO) error {
	return v.order(ctx, std, func(c *client.Client) (string, error) { return v.ID, c.ResumeSync(ctx, v.ID) })
}

type syncUndo struct {
	oneSync
	DryRun bool `help:"Plan the way back only; apply it by its own ID."`
}

// Help implements kong.HelpProvider.
func (syncUndo) Help() string {
	return `Every record that is as the sync left it becomes what it was before; one that was changed since is left alone. Example:

    tenantry sync undo 01KADVQ6Z7T8ZJ2F9Y3N4M5B6C`
}

// Run runs the verb.
func (v syncUndo) Run(ctx context.Context, std IO) error {
	return v.order(ctx, std, func(c *client.Client) (string, error) { return c.UndoSync(ctx, v.ID, v.DryRun) })
}

type syncStatus struct {
	ID    string `arg:"" help:"ID of the sync."`
	Items *code  `placeholder:"TARGET" help:"List what the plan does to each record of this target, and why."`
	target
	output
}

// Help implements kong.HelpProvider.
func (syncStatus) Help() string {
	return `Examples:

    tenantry sync status 01KADVQ6Z7T8ZJ2F9Y3N4M5B6C
    tenantry sync status 01KADVQ6Z7T8ZJ2F9Y3N4M5B6C --items bravo --json`
}

// Run runs the verb.
func (v syncStatus) Run(ctx context.Context, std IO) error {
	return v.withClient(ctx, std, false, func(c *client.Client) error {
		if v.Items != nil {
			return pages(std, paging{All: true}, v.output, printItems, func(p client.Paging) (client.Page[client.SyncItem], error) {
				return c.SyncItems(ctx, v.ID, v.Items.Code, p)
			})
		}
		s, err := c.Sync(ctx, v.ID)
		if err != nil {
			return err
		}
		if v.JSON {
			return raw(std.Out, s.JSON)
		}
		if s.Status == "planned" || s.Status == "planning" {
			return printPlan(std.Out, s)
		}
		return printOutcome(std.Out, s)
	})
}

type syncList struct {
	paging
	target
	output
}

// Help implements kong.HelpProvider.
func (syncList) Help() string {
	return `Example:

    tenantry sync list --limit 10`
}

// Run runs the verb.
func (v syncList) Run(ctx context.Context, std IO) error {
	return v.withClient(ctx, std, false, func(c *client.Client) error {
		return pages(std, v.paging, v.output, printSyncs, func(p client.Paging) (client.Page[client.Sync], error) { return c.Syncs(ctx, p) })
	})
}

type syncCancel struct {
	ID string `arg:"" help:"ID of the sync."`
	target
	output
}

// Help implements kong.HelpProvider.
func (syncCancel) Help() string {
	return `Undo takes back what it has applied, resume does the rest. Example:

    tenantry sync cancel 01KADVQ6Z7T8ZJ2F9Y3N4M5B6C`
}

// Run runs the verb.
func (v syncCancel) Run(ctx context.Context, std IO) error {
	return v.withClient(ctx, std, false, func(c *client.Client) error {
		s, err := c.CancelSync(ctx, v.ID)
		if err != nil {
			return err
		}
		if v.JSON {
			return raw(std.Out, s.JSON)
		}
		return printOutcome(std.Out, s)
	})
}

type syncDrift struct{ copied }

// Help implements kong.HelpProvider.
func (syncDrift) Help() string {
	return `The report is a plan that deletes too: applying it by its ID brings the targets in step. Examples:

    tenantry sync drift acme PRODUCT bravo charlie
    tenantry sync drift common TEMPLATE --all-tenants --json`
}

// Run runs the verb.
func (v syncDrift) Run(ctx context.Context, std IO) error {
	r, err := v.request(std.In, true)
	if err != nil {
		return err
	}
	return v.working(ctx, std, func(c *client.Client) error {
		id, err := c.PlanSync(ctx, r)
		if err != nil {
			return err
		}
		return v.watch(ctx, std, c, id, printDrift)
	})
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func printSyncs(w io.Writer, all []client.Sync, first bool) error {
	t := newTable(w)
	if first {
		t.row("ID", "STATUS", "SOURCE", "TYPE", "TOTAL", "SYNCED", "UNCHANGED", "SKIPPED", "FAILED", "CREATED", "BY")
	}
	for _, s := range all {
		t.row(s.ID, s.Status, s.SourceTenantCode, s.EntityType, number(s.Total), number(s.Synced), number(s.Unchanged), number(s.Skipped), number(s.Failed), moment(s.CreatedAt), cut(s.CreatedBy))
	}
	return t.w.Flush()
}

func printItems(w io.Writer, all []client.SyncItem, first bool) error {
	t := newTable(w)
	if first {
		t.row("ID", "ACTION", "REASON", "ERROR")
	}
	for _, it := range all {
		t.row(it.ID, it.Action, words(it.Reason), it.Message)
	}
	return t.w.Flush()
}

// words returns a reason as a person reads it.
func words(reason string) string { return strings.ReplaceAll(reason, "_", " ") }

func printPlan(w io.Writer, s client.Sync) error {
	t := newTable(w)
	t.row("TARGET", "CREATE", "UPDATE", "DELETE", "UNCHANGED", "SKIP", "WHY")
	for _, p := range s.PerTenant {
		t.row(p.TenantCode, number(p.Create), number(p.Update), number(p.Delete), number(p.Unchanged), number(p.Skipped), why(p))
	}
	if err := t.w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "sync %s is %s: %d records\n", printable(s.ID), s.Status, s.Total)
	return err
}

// why returns the reasons of a plan, or why its target stands still.
func why(p client.SyncTarget) string {
	if p.Message != "" {
		return p.Message
	}
	var all []string
	for _, reason := range slices.Sorted(maps.Keys(p.Why)) {
		all = append(all, fmt.Sprintf("%s %d", words(reason), p.Why[reason]))
	}
	return strings.Join(all, ", ")
}

func printOutcome(w io.Writer, s client.Sync) error {
	t := newTable(w)
	t.row("TARGET", "STATUS", "TOTAL", "SYNCED", "UNCHANGED", "SKIPPED", "FAILED")
	for _, p := range s.PerTenant {
		t.row(p.TenantCode, p.Status, number(p.Total), number(p.Synced), number(p.Unchanged), number(p.Skipped), number(p.Failed))
	}
	if err := t.w.Flush(); err != nil {
		return err
	}
	for _, e := range s.Errors {
		fmt.Fprintf(w, "  %s: %s\n", printable(e.TenantCode+" "+e.ID), printable(e.Message))
	}
	_, err := fmt.Fprintf(w, "sync %s is %s: %d of %d records synced\n", printable(s.ID), s.Status, s.Synced, s.Total)
	return err
}

func printDrift(w io.Writer, s client.Sync) error {
	t := newTable(w)
	t.row("TARGET", "IN STEP", "MISSING", "OUTDATED", "CHANGED LOCALLY", "GONE IN SOURCE", "OWN", "SAME")
	for _, p := range s.PerTenant {
		inStep := "no"
		switch {
		case p.Message != "":
			inStep = p.Message
		case p.Create+p.Update+p.Delete == 0:
			inStep = "yes"
		}
		t.row(p.TenantCode, inStep, number(p.Create), number(p.Why["source_changed"]), number(p.Why["local_changes"]), number(p.Why["gone"]), number(p.Why["own"]), number(p.Unchanged))
	}
	if err := t.w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "sync apply %s brings the targets in step\n", printable(s.ID))
	return err
}

// rulesVerb are the verbs about rules.
type rulesVerb struct {
	List   rulesList   `cmd:"" help:"List the rules."`
	Add    rulesAdd    `cmd:"" help:"Add a rule, and sync its targets."`
	Remove rulesRemove `cmd:"" help:"End a rule; what it copied stays."`
}

type rulesList struct {
	target
	output
}

// Help implements kong.HelpProvider.
func (rulesList) Help() string {
	return `Example:

    tenantry sync rules list`
}

// Run runs the verb.
func (v rulesList) Run(ctx context.Context, std IO) error {
	return v.withClient(ctx, std, false, func(c *client.Client) error {
		return pages(std, paging{}, v.output, printRules, func(client.Paging) (client.Page[client.SyncRule], error) { return c.SyncRules(ctx) })
	})
}

func printRules(w io.Writer, all []client.SyncRule, _ bool) error {
	t := newTable(w)
	t.row("ID", "SOURCE", "TYPE", "TARGETS", "ON CONFLICT", "DELETES", "BEHIND", "BY")
	for _, r := range all {
		var behind []string
		if r.Message != "" {
			behind = append(behind, r.Message)
		}
		for _, b := range r.Behind {
			behind = append(behind, b.TenantCode+": "+b.Message)
		}
		t.row(r.ID, r.SourceTenantCode, r.EntityType+" "+r.Prefix, targetsText(r.TargetTenantCodes), r.OnConflict, strconv.FormatBool(r.Deletes), strings.Join(behind, ", "), cut(r.CreatedBy))
	}
	return t.w.Flush()
}

func targetsText(codes any) string {
	list, ok := codes.([]any)
	if !ok {
		return "all"
	}
	return strings.Trim(fmt.Sprint(list...), "[]")
}

type rulesAdd struct {
	copied
	Deletes bool `help:"Delete copies whose record in the source is gone."`
	Copies  bool `help:"Copy on what a sync wrote in the source too."`
}

// Help implements kong.HelpProvider.
func (rulesAdd) Help() string {
	return `From then on a running server copies what changes in the source, within seconds. Example:

    tenantry sync rules add common TEMPLATE --all-tenants --deletes`
}

// Run runs the verb.
func (v rulesAdd) Run(ctx context.Context, std IO) error {
	r, err := v.request(std.In, v.Deletes)
	if err != nil {
		return err
	}
	return v.working(ctx, std, func(c *client.Client) error {
		rule, err := c.AddSyncRule(ctx, r, v.Copies)
		if err != nil {
			return err
		}
		if !v.Detach {
			if _, err := follow(ctx, std.Err, v.JSON, c, rule.SyncID); err != nil {
				return err
			}
		}
		if v.JSON {
			return raw(std.Out, rule.JSON)
		}
		_, err = fmt.Fprintf(std.Out, "added rule %s\n", printable(rule.ID))
		return err
	})
}

type rulesRemove struct {
	ID string `arg:"" help:"ID of the rule."`
	target
}

// Help implements kong.HelpProvider.
func (rulesRemove) Help() string {
	return `Example:

    tenantry sync rules remove 01KADVQ6Z7T8ZJ2F9Y3N4M5B6C`
}

// Run runs the verb.
func (v rulesRemove) Run(ctx context.Context, std IO) error {
	return v.withClient(ctx, std, false, func(c *client.Client) error {
		if err := c.RemoveSyncRule(ctx, v.ID); err != nil {
			return err
		}
		_, err := fmt.Fprintf(std.Out, "removed rule %s\n", printable(v.ID))
		return err
	})
}
