package dynamodb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// Problem is something about a store's tables that keeps records from being found, followed or finished.
type Problem struct {
	Table string
	PK    string // of the items that it is about, "" where it is about the table
	SK    string // "" where it is about the whole partition
	What  string // what is wrong and what to do
}

// CheckTables looks at the tables of entity types and at all others of the store that are there, and returns what is wrong with them, by
// table, PK and SK: tables that are missing or have other keys, data tables whose stream is off, tables that keep what has expired,
// partitions whose PK names no valid tenant code, which no Scope shows, and commands that have no data row, which a crash of
// another framework leaves. It scans every table and keeps the keys of one module's commands in memory. It fails with fault.Unavailable.
func CheckTables(ctx context.Context, cfg Config, entityTypes ...string) ([]Problem, error) {
	s, err := connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer s.close()
	wanted, err := s.wanted(entityTypes)
	if err != nil {
		return nil, err
	}
	for _, c := range driver.Collections() {
		names, err := s.tables(ctx, c)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if t := (wantedTable{name, c}); !slices.Contains(wanted, t) {
				wanted = append(wanted, t)
			}
		}
	}
	check := checker{server: s, usable: make(map[string]bool), layout: &layout{}}
	for _, t := range wanted {
		if err := check.table(ctx, t); err != nil {
			return nil, err
		}
	}
	if check.usable[s.systemTable()] {
		if err := check.spreading(ctx); err != nil {
			return nil, err
		}
	}
	for _, t := range wanted {
		if t.collection == driver.System || !check.usable[t.name] {
			continue
		}
		if err := check.items(ctx, t); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(check.problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.Table, b.Table), strings.Compare(a.PK, b.PK), strings.Compare(a.SK, b.SK), strings.Compare(a.What, b.What))
	})
	return check.problems, nil
}

type checker struct {
	server
	usable   map[string]bool // tables that are there, with the right keys
	layout   *layout
	problems []Problem
}

// spreading reads the layout, and reports what was begun of it and not ended.
func (c *checker) spreading(ctx context.Context) (err error) {
	if c.layout, err = c.look(ctx, "dynamodb.CheckTables"); err != nil {
		return err
	}
	for name, n := range c.layout.coming {
		c.report(c.systemTable(), "%s is being spread over %d keys, and commits to it are refused; where that was interrupted, say it again: tenantry tables create --shards %s=%d", name, n, name, n)
	}
	return nil
}

func (c *checker) report(table, format string, args ...any) {
	c.problems = append(c.problems, Problem{Table: table, What: fmt.Sprintf(format, args...)})
}

func (c *checker) table(ctx context.Context, t wantedTable) error {
	out, err := c.db.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &t.name})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
		c.report(t.name, "the table is missing; create it with tenantry tables create")
		return nil
	}
	if err != nil {
		return translate(ctx, err, "dynamodb.CheckTables")
	}
	if c.usable[t.name] = rightKeys(out.Table); !c.usable[t.name] {
		c.report(t.name, "its key is not pk and sk, both texts; a table's key can't be changed: move the table out of the way and create it anew")
	}
	if t.collection == driver.Data && !hasStream(out.Table) {
		c.report(t.name, "it has no stream with new and old images, which the change feed follows; turn it on")
	}
	ttl, err := c.db.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: &t.name})
	if err != nil {
		return translate(ctx, err, "dynamodb.CheckTables")
	}
	if d := ttl.TimeToLiveDescription; t.collection == driver.System && (d == nil || aws.ToString(d.AttributeName) != "ttl" ||
		d.TimeToLiveStatus != types.TimeToLiveStatusEnabled && d.TimeToLiveStatus != types.TimeToLiveStatusEnabling) {
		c.report(t.name, "what has expired stays in it; turn on time to live for the attribute ttl")
	}
	return nil
}

func rightKeys(t *types.TableDescription) bool {
	keys := make(map[types.KeyType]string)
	for _, k := range t.KeySchema {
		keys[k.KeyType] = aws.ToString(k.AttributeName)
	}
	for _, a := range t.AttributeDefinitions {
		if name := aws.ToString(a.AttributeName); (name == "pk" || name == "sk") && a.AttributeType != types.ScalarAttributeTypeS {
			return false
		}
	}
	return keys[types.KeyTypeHash] == "pk" && keys[types.KeyTypeRange] == "sk"
}

func hasStream(t *types.TableDescription) bool {
	s := t.StreamSpecification
	return s != nil && aws.ToBool(s.StreamEnabled) && s.StreamViewType == types.StreamViewTypeNewAndOldImages
}

// name names a record.
type name struct{ pk, sk string }

// items looks at every key of a table.
func (c *checker) items(ctx context.Context, t wantedTable) error {
	reported := make(map[string]bool)
	newest := make(map[name]int64)
	in := &dynamodb.ScanInput{TableName: &t.name, ConsistentRead: aws.Bool(true), ProjectionExpression: aws.String("pk, sk")}
	for pages := dynamodb.NewScanPaginator(c.db, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return translate(ctx, err, "dynamodb.CheckTables")
		}
		for _, it := range page.Items {
			d := decoder{it: it}
			pk, sk := d.text("pk"), d.text("sk")
			if what := c.unseen(t, pk, sk); what != "" {
				if !reported[pk] {
					c.problems = append(c.problems, Problem{Table: t.name, PK: pk, What: what})
				}
				reported[pk] = true
				continue
			}
			if t.collection == driver.Command {
				sk, version, ok := splitSK(sk)
				if !ok {
					c.problems = append(c.problems, Problem{Table: t.name, PK: pk, SK: sk, What: "the sort key of a command has no version"})
					continue
				}
				newest[name{pk, sk}] = max(newest[name{pk, sk}], version)
			}
		}
	}
	return c.unfinished(ctx, t, newest)
}

// unseen says why no Scope shows a row, "" where one does.
func (c *checker) unseen(t wantedTable, stored, sk string) string {
	pk := c.layout.pk(stored)
	if versioned(t.collection) {
		sk, _, _ = splitSK(sk)
	}
	if c.layout.key(pk, sk) != stored {
		return "its partition is spread over several keys, and this is not the key of its row, which is not found; another service wrote it"
	}
	kind, code, rest, err := record.SplitPK(pk)
	if err != nil {
		return "the PK names no valid tenant; no scope shows its items"
	}
	if table, err := c.server.table(t.collection, pk); err != nil || table != t.name {
		return "the entity type belongs to another module, in whose table its items are looked for; configure its module"
	}
	canonical := kind.String() + record.Separator + code.String()
	if rest != "" {
		canonical += record.Separator + rest
	}
	if pk != canonical && !(code.IsCommon() && pk == strings.Replace(canonical, "#common", "#COMMON", 1)) {
		return "the PK has a tenant code in upper case; no scope shows its items"
	}
	return ""
}

// unfinished reports records whose newest command is not their state.
func (c *checker) unfinished(ctx context.Context, t wantedTable, newest map[name]int64) error {
	data := strings.TrimSuffix(t.name, driver.Command.String()) + driver.Data.String()
	if !c.usable[data] {
		return nil
	}
	var batch []row
	flush := func() error {
		found, err := c.server.items(ctx, batch)
		for _, r := range batch {
			d := decoder{it: found[r]}
			version, stands := newest[name{r.pk, r.sk}], d.integer("version")
			if err == nil && stands < version {
				c.problems = append(c.problems, Problem{Table: t.name, PK: r.pk, SK: record.VersionedSK(r.sk, version),
					What: fmt.Sprintf("the command has no data row: the state is at version %d; see tenantry verify", stands)})
			}
		}
		batch = batch[:0]
		return err
	}
	for n := range newest {
		if batch = append(batch, row{data, n.pk, n.sk}); len(batch) == driver.MaxBatch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}
