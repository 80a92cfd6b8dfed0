package upkeep

import (
	"context"
	"strings"

	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/storage/driver"
)

// count counts events into the counters of a place: records that live, by tenant and entity type, and records by the
// day that they were created on. Whether a record lived before is kept for each, because the feed of a store that others
// write to may begin in the middle of a record's versions.
func count(ctx context.Context, tx driver.Tx, where readmodel.Place, events []event) error {
	known, err := lived(ctx, tx, where, events)
	if err != nil {
		return err
	}
	type key struct{ tenant, kind string }
	type dayKey struct {
		key
		day string
	}
	live, created := map[key]int64{}, map[dayKey]int64{}
	var order []recordRef
	changed := map[recordRef]bool{}
	for _, e := range events {
		ref := recordRef{e.owner.String(), e.cmd.PK, e.cmd.SK}
		counter := key{ref.tenant, e.kind.String()}
		before := known[ref]
		after := living
		if e.cmd.IsDeleted {
			after = deleted
		}
		if before == unknown {
			created[dayKey{counter, e.cmd.CreatedAt.Time().Format("2006-01-02")}]++
		}
		switch {
		case before != living && after == living:
			live[counter]++
		case before == living && after == deleted:
			live[counter]--
		default:
			live[counter] += 0
		}
		if known[ref] = after; before != after && !changed[ref] {
			changed[ref] = true
			order = append(order, ref)
		}
	}
	rows := make([][]any, len(order))
	for i, ref := range order {
		rows[i] = []any{ref.tenant, ref.pk, ref.sk, known[ref] == deleted}
	}
	if err := insert(ctx, tx, liveTable.in(where), liveTable.columns, rows, "ON CONFLICT (tenant_code, pk, sk) DO UPDATE SET deleted = excluded.deleted"); err != nil {
		return err
	}
	rows = rows[:0]
	for k, n := range live {
		rows = append(rows, []any{k.tenant, k.kind, n})
	}
	into := counterTable.in(where)
	if err := insert(ctx, tx, into, counterTable.columns, rows, "ON CONFLICT (tenant_code, type) DO UPDATE SET live = "+into+".live + excluded.live"); err != nil {
		return err
	}
	rows = rows[:0]
	for k, n := range created {
		rows = append(rows, []any{k.tenant, k.kind, k.day, n})
	}
	into = createdTable.in(where)
	return insert(ctx, tx, into, createdTable.columns, rows, "ON CONFLICT (tenant_code, type, day) DO UPDATE SET records = "+into+".records + excluded.records")
}

type recordRef struct{ tenant, pk, sk string }

// life is what is known of a record.
type life uint8

const (
	unknown life = iota // there was no command on it
	living
	deleted
)

// lived returns what is known of the records of events that are not created by the first of them.
func lived(ctx context.Context, tx driver.Tx, where readmodel.Place, events []event) (map[recordRef]life, error) {
	known := make(map[recordRef]life, len(events))
	asked := map[recordRef]bool{}
	var rows [][]any
	for _, e := range events {
		ref := recordRef{e.owner.String(), e.cmd.PK, e.cmd.SK}
		if asked[ref] {
			continue
		}
		asked[ref] = true
		if e.cmd.Version > 1 {
			rows = append(rows, []any{ref.tenant, ref.pk, ref.sk})
		}
	}
	query := "SELECT tenant_code, pk, sk, deleted FROM " + liveTable.in(where) + " WHERE (tenant_code, pk, sk) IN (VALUES "
	err := values(rows, func(parameters string, args []any) error {
		return tx.Query(ctx, func(row driver.Row) error {
			var ref recordRef
			var gone bool
			if err := row.Scan(&ref.tenant, &ref.pk, &ref.sk, &gone); err != nil {
				return err
			}
			known[ref] = living
			if gone {
				known[ref] = deleted
			}
			return nil
		}, query+parameters+")", args...)
	})
	return known, err
}

// selection returns the names of columns for a query.
func selection(columns []string) string { return strings.Join(columns, ", ") }
