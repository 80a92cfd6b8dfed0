package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// Every query that reads rows yields pk, sk, version and doc, and may yield more behind them.
const columns = "SELECT pk, sk, version, doc FROM "

// live is the condition of a row of the system collection that has not expired; %d is the parameter of the second that counts as
// now.
const live = " AND expires NOT BETWEEN 1 AND $%d - 1"

var (
	getQuery = [...]string{
		driver.Data:    columns + "data WHERE pk = $1 AND sk = $2",
		driver.Command: columns + "command WHERE pk = $1 AND sk = $2 AND version = $3",
		driver.History: columns + "history WHERE pk = $1 AND sk = $2 AND version = $3",
		driver.System:  columns + "system WHERE pk = $1 AND sk = $2" + fmt.Sprintf(live, 3),
	}

	// The rows at many keys of one collection. Without OFFSET 0 the planner may turn the lookups into a scan.
	batchQuery = [...]string{
		driver.Data:    batched + "FROM data WHERE pk = w.pk AND sk = w.sk" + unfolded,
		driver.Command: batched + "FROM command WHERE pk = w.pk AND sk = w.sk AND version = w.version" + unfolded,
		driver.History: batched + "FROM history WHERE pk = w.pk AND sk = w.sk AND version = w.version" + unfolded,
		driver.System:  batched + "FROM system WHERE pk = w.pk AND sk = w.sk" + fmt.Sprintf(live, 4) + unfolded,
	}

	scanQuery = [...]string{
		driver.Data:    columns + "data WHERE (pk, sk) > ($1, $2) ORDER BY pk, sk LIMIT $3",
		driver.Command: columns + "command WHERE (pk, sk, version) > ($1, $2, $4) ORDER BY pk, sk, version LIMIT $3",
		driver.History: columns + "history WHERE (pk, sk, version) > ($1, $2, $4) ORDER BY pk, sk, version LIMIT $3",
		driver.System:  columns + "system WHERE (pk, sk) > ($1, $2)" + fmt.Sprintf(live, 4) + " ORDER BY pk, sk LIMIT $3",
	}
)

const (
	batched = `SELECT r.*, w.n FROM unnest($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY AS w(pk, sk, version, n)
		CROSS JOIN LATERAL (SELECT pk, sk, version, doc `
	unfolded = " OFFSET 0) AS r"

	changesQuery = "SELECT pk, sk, version, doc, position FROM command WHERE position > $1 ORDER BY position LIMIT $2"
	keysQuery    = `SELECT count(*), COALESCE(max(position), $1), array_agg(pk ORDER BY position) FILTER (WHERE followed), array_agg(sk ORDER BY position) FILTER (WHERE followed)
		FROM (SELECT pk, sk, position, split_part(pk, '#', 1) = ANY ($3::text[]) AS followed FROM command WHERE position > $1 ORDER BY position LIMIT $2) AS c`
	endQuery = "SELECT COALESCE(max(position), 0) FROM command"
)

func (e *engine) Get(ctx context.Context, ref driver.Ref) (*record.Record, error) {
	if err := e.enter(ctx, "postgres.Get"); err != nil {
		return nil, err
	}
	defer e.leave()
	return e.gets.get(ctx, ref)
}

func (e *engine) BatchGet(ctx context.Context, refs []driver.Ref) ([]*record.Record, error) {
	if err := e.enter(ctx, "postgres.BatchGet"); err != nil {
		return nil, err
	}
	defer e.leave()
	return e.lookUp(ctx, refs)
}

// lookUp asks once for each collection that refs name.
func (e *engine) lookUp(ctx context.Context, refs []driver.Ref) ([]*record.Record, error) {
	var tenants []string
	var lookups [driver.System + 1]lookup
	for i, ref := range refs {
		if !holdable(ref.PK) || !holdable(ref.SK) {
			continue
		}
		tenants = withTenant(tenants, ref.PK)
		lookups[ref.Collection].add(i, ref)
	}
	b := named(tenants)
	now := time.Now().Unix()
	for c := range lookups {
		lookups[c].queue(b, driver.Collection(c), now)
	}
	recs := make([]*record.Record, len(refs))
	err := e.ask(ctx, "postgres.Get", b, func(answers pgx.BatchResults) error {
		for c := range lookups {
			if err := lookups[c].collect(answers, recs); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return recs, nil
}

// holdable reports whether a text can be a key in the database; one that can't names no row.
func holdable(text string) bool { return utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 }

// lookup is what is asked of one collection: rows by their keys, for places in the answer.
type lookup struct {
	places   []int
	pks, sks []string
	versions []int64
}

func (l *lookup) add(place int, ref driver.Ref) {
	l.places = append(l.places, place)
	l.pks, l.sks, l.versions = append(l.pks, ref.PK), append(l.sks, ref.SK), append(l.versions, ref.Version)
}

func (l *lookup) queue(b *pgx.Batch, c driver.Collection, now int64) {
	versioned := c == driver.Command || c == driver.History
	var arguments []any
	switch {
	case len(l.places) == 0:
		return
	case len(l.places) == 1:
		arguments = append(arguments, l.pks[0], l.sks[0])
		if versioned {
			arguments = append(arguments, l.versions[0])
		}
		if c == driver.System {
			arguments = append(arguments, now)
		}
		b.Queue(getQuery[c], arguments...)
	default:
		arguments = append(arguments, l.pks, l.sks, l.versions)
		if c == driver.System {
			arguments = append(arguments, now)
		}
		b.Queue(batchQuery[c], arguments...)
	}
}

// collect puts the rows of the next answer into their places.
func (l *lookup) collect(answers pgx.BatchResults, recs []*record.Record) error {
	if len(l.places) == 0 {
		return nil
	}
	n := int64(1)
	var more []any
	if len(l.places) > 1 {
		more = []any{&n}
	}
	return rows(answers, more, func(rec *record.Record) { recs[l.places[n-1]] = rec })
}

// rows calls f with each record of the next answer. More are the places of what the query yields behind its doc.
func rows(answers pgx.BatchResults, more []any, f func(*record.Record)) error {
	found, err := answers.Query()
	if err != nil {
		return err
	}
	defer found.Close()
	var doc string
	into := append([]any{nil, nil, nil, &doc}, more...)
	for found.Next() {
		rec := &record.Record{}
		into[0], into[1], into[2] = &rec.PK, &rec.SK, &rec.Version
		if err := found.Scan(into...); err != nil {
			return err
		}
		if err := record.ParseDoc(doc, rec); err != nil {
			return err
		}
		f(rec)
	}
	return found.Err()
}

// list runs one query for some tenants and returns its rows.
func (e *engine) list(ctx context.Context, op string, tenants []string, query string, arguments ...any) ([]*record.Record, error) {
	b := named(tenants)
	b.Queue(query, arguments...)
	var recs []*record.Record
	err := e.read(ctx, op, b, func(answers pgx.BatchResults) error {
		recs = nil
		return rows(answers, nil, func(rec *record.Record) { recs = append(recs, rec) })
	})
	if err != nil {
		return nil, err
	}
	return recs, nil
}

func (e *engine) Range(ctx context.Context, r driver.Range) ([]*record.Record, error) {
	query := []byte(columns + r.Collection.String() + " WHERE pk = $1")
	arguments := []any{r.PK}
	where := func(condition string, argument any) {
		arguments = append(arguments, argument)
		query = fmt.Appendf(query, " AND "+condition+"$%d", len(arguments))
	}
	if least := max(r.Prefix, r.From); r.After != "" && r.After >= least {
		where("sk > ", r.After)
	} else if least != "" {
		where("sk >= ", least)
	}
	if most, open := upper(r); !open {
		where("sk < ", most)
	}
	if !r.IncludeDeleted {
		query = append(query, " AND NOT deleted"...)
	}
	if r.Collection == driver.System {
		arguments = append(arguments, time.Now().Unix())
		query = fmt.Appendf(query, live, len(arguments))
	}
	query = append(query, " ORDER BY sk"...)
	if r.Descending {
		query = append(query, " DESC"...)
	}
	arguments = append(arguments, r.Limit)
	query = fmt.Appendf(query, " LIMIT $%d", len(arguments))
	return e.list(ctx, "postgres.Range", withTenant(nil, r.PK), string(query), arguments...)
}

// upper returns the least sort key behind all that r asks for; open says that there is none.
func upper(r driver.Range) (least string, open bool) {
	least, open = successor(r.Prefix)
	for _, bound := range []string{r.To, r.Before} {
		if bound != "" && (open || bound < least) {
			least, open = bound, false
		}
	}
	return least, open
}

// successor returns the least text behind all that begin with prefix; open says that there is none. In UTF-8 the order of bytes
// is that of code points.
func successor(prefix string) (least string, open bool) {
	for prefix != "" {
		last, size := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-size]
		switch {
		case last == utf8.MaxRune:
			continue
		case last == 0xd7ff: // what follows are surrogates, which are in no text
			return prefix + "\ue000", false
		}
		return prefix + string(last+1), false
	}
	return "", true
}

func (e *engine) Scan(ctx context.Context, c driver.Collection, after driver.Ref, limit int) ([]*record.Record, error) {
	arguments := []any{after.PK, after.SK, limit}
	switch c {
	case driver.Command, driver.History:
		arguments = append(arguments, after.Version)
	case driver.System:
		arguments = append(arguments, time.Now().Unix())
	}
	return e.list(ctx, "postgres.Scan", everyone, scanQuery[c], arguments...)
}

func (e *engine) Changes(ctx context.Context, after driver.Position, limit int) ([]driver.Change, error) {
	const op = "postgres.Changes"
	from, err := after.Number()
	if err != nil {
		return nil, err
	}
	b := named(everyone)
	b.Queue(changesQuery, from, limit)
	var changes []driver.Change
	err = e.read(ctx, op, b, func(answers pgx.BatchResults) error {
		changes = nil
		var at int64
		return rows(answers, []any{&at}, func(rec *record.Record) {
			changes = append(changes, driver.Change{Position: driver.PositionAt(at), Command: rec})
		})
	})
	if err != nil {
		return nil, err
	}
	return changes, nil
}

// ChangedKeys implements driver.KeyFeed.
func (e *engine) ChangedKeys(ctx context.Context, after driver.Position, limit int, types map[string]bool) (keys []driver.Ref, looked int, last driver.Position, err error) {
	from, err := after.Number()
	if err != nil {
		return nil, 0, "", err
	}
	at := from
	b := named(everyone)
	b.Queue(keysQuery, from, limit, slices.Collect(maps.Keys(types)))
	var pks, sks []string
	err = e.read(ctx, "postgres.ChangedKeys", b, func(answers pgx.BatchResults) error {
		return answers.QueryRow().Scan(&looked, &at, &pks, &sks)
	})
	if err != nil {
		return nil, 0, "", err
	}
	for i, pk := range pks {
		keys = append(keys, driver.Ref{Collection: driver.Command, PK: pk, SK: sks[i]})
	}
	return keys, looked, driver.PositionAt(at), nil
}

func (e *engine) End(ctx context.Context) (driver.Position, error) {
	b := named(everyone)
	b.Queue(endQuery)
	var end int64
	err := e.read(ctx, "postgres.End", b, func(answers pgx.BatchResults) error { return answers.QueryRow().Scan(&end) })
	if err != nil {
		return "", err
	}
	return driver.PositionAt(end), nil
}
