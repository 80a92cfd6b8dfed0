package integrity

import (
	"context"
	"strings"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenants"
)

// What the system keeps beside records, by the first segment of its PK; see docs/adr/0006-what-the-system-keeps.md.
const (
	directoryWord  = "TENANTS"
	codeWord       = "CODE"
	partitionWord  = "PARTITIONS"
	receiptWord    = "RECEIPT"
	checkpointWord = "CHECKPOINT"
	parkedWord     = "PARKED"

	systemOwner = "common"
)

func pkOf(parts ...string) string { return strings.Join(parts, record.Separator) }

// beside verifies, from a record, what the system keeps for it: a row that is missing shows here only.
func (v *verifier) beside(ctx context.Context, c *recordCheck) error {
	if c.current == nil || c.older {
		return nil
	}
	if c.pk != v.partition {
		if err := v.noted(ctx, c); err != nil {
			return err
		}
	}
	if c.entity == tenants.EntityType() && c.plain && c.sk == tenants.Master {
		if err := v.listed(ctx, c); err != nil {
			return err
		}
	}
	if c.pk == membershipsPK {
		if err := v.belongs(ctx, c); err != nil {
			return err
		}
	}
	if v.unique(c.entity) && !c.current.IsDeleted {
		return v.holds(ctx, c)
	}
	return nil
}

// noted verifies that the partition of a record is noted.
func (v *verifier) noted(ctx context.Context, c *recordCheck) error {
	c.checked[Partitions]++
	n := name{pkOf(partitionWord, c.tenant.String()), c.pk}
	row, err := v.get(ctx, driver.System, n.pk, n.sk, 0)
	if err != nil {
		return err
	}
	if row == nil {
		c.found(Partitions, n.ref(driver.System, 0), "the tenant has records in the partition, but it is not noted")
	}
	return nil
}

// listed verifies the row of the directory that stands for a tenant's own record.
func (v *verifier) listed(ctx context.Context, c *recordCheck) error {
	n := name{pkOf(directoryWord, systemOwner), c.tenant.String()}
	row, err := v.get(ctx, driver.System, n.pk, n.sk, 0)
	if err != nil {
		return err
	}
	switch {
	case row == nil:
		c.found(Directory, n.ref(driver.System, 0), "the tenant is not in the directory")
	case row.Version != c.current.Version:
		c.found(Directory, n.ref(driver.System, 0), "the directory shows version %d of the tenant, its record has %d", row.Version, c.current.Version)
	case string(row.Attributes) != string(storage.CopyOf("", "", c.current).Value):
		c.found(Directory, n.ref(driver.System, 0), "the directory does not say what the tenant's record says")
	}
	return nil
}

// holds verifies that a live record holds its unique code.
func (v *verifier) holds(ctx context.Context, c *recordCheck) error {
	n := name{pkOf(codeWord, c.tenant.String()), pkOf(c.entity.String(), c.current.Code)}
	row, err := v.get(ctx, driver.System, n.pk, n.sk, 0)
	if err != nil {
		return err
	}
	switch sk, _ := holder(row); {
	case row == nil:
		c.found(Codes, n.ref(driver.System, 0), "the record with sort key %q has the code, but does not hold it", c.sk)
	case sk != c.sk:
		c.found(Codes, n.ref(driver.System, 0), "the record with sort key %q has the code, but another holds it", c.sk)
	}
	return nil
}

// holder returns the sort key of the record that holds a code; ok is false for a row that does not say.
func holder(row *record.Record) (sk string, ok bool) {
	var value struct {
		SK string `json:"sk"`
	}
	if row == nil || row.Attributes.Decode(&value) != nil {
		return "", false
	}
	return value.SK, value.SK != ""
}

// kept verifies every row of the system collection: a row that should not be shows here only.
func (v *verifier) kept(ctx context.Context) error {
	rows := v.all(driver.System)
	for {
		row, err := rows.next(ctx)
		if err != nil || row == nil {
			return err
		}
		v.addRow(row)
		t, err := v.settle(ctx, row, v.row)
		if err != nil {
			return err
		}
		v.total.add(t)
	}
}

// settle verifies a row by verify; where something is wrong, until the row has not changed meanwhile.
func (v *verifier) settle(ctx context.Context, row *record.Record, verify func(context.Context, *rowCheck) error) (tally, error) {
	for range attempts {
		c := &rowCheck{tally: v.tally(), name: name{row.PK, row.SK}, row: row}
		if err := verify(ctx, c); err != nil || c.sound() {
			return c.tally, err
		}
		now, err := v.get(ctx, driver.System, row.PK, row.SK, 0)
		if err != nil || now == nil {
			return v.tally(), err
		}
		if now.Version == row.Version && string(now.Attributes) == string(row.Attributes) {
			return c.tally, nil
		}
		row = now
	}
	v.unsettled++
	return v.tally(), nil
}

// rowCheck is one row of the system collection under verification.
type rowCheck struct {
	tally
	name
	row *record.Record
}

func (c *rowCheck) wrong(k Kind, format string, args ...any) {
	c.found(k, c.ref(driver.System, 0), format, args...)
}

func (v *verifier) row(ctx context.Context, c *rowCheck) error {
	c.checked[Keys]++
	if at, ok := locate(c.pk); !ok || at.older || c.sk == "" {
		c.wrong(Keys, "the pk is not a word and a tenant, or the sort key is empty")
		return nil
	}
	word, owner, _ := strings.Cut(c.pk, record.Separator)
	switch word {
	case directoryWord:
		return v.directoryRow(ctx, c, owner)
	case codeWord:
		return v.codeRow(ctx, c, owner)
	case partitionWord:
		if at, ok := locate(c.sk); !ok || at.older || at.tenant.String() != owner {
			c.wrong(Partitions, "the row does not name a partition of its tenant")
		}
	case receiptWord:
		return v.receiptRow(ctx, c)
	case checkpointWord:
		return v.checkpointRow(ctx, c)
	case parkedWord:
		c.parkedRow()
	case memberOfWord, defaultWord, adminsWord:
		return v.memberRow(ctx, c, word, owner)
	case jobWord:
		return v.jobRow(ctx, c, owner)
	case jobsWord:
		c.jobsRow(owner)
	case deliveryWord:
		c.deliveryRow(owner)
	}
	return nil
}

func (v *verifier) directoryRow(ctx context.Context, c *rowCheck, owner string) error {
	c.checked[Directory]++
	code, err := tenant.Parse(c.sk)
	if err != nil || code.String() != c.sk || owner != systemOwner {
		c.wrong(Directory, "the row does not name a tenant")
		return nil
	}
	rec, err := v.stored(ctx, driver.Data, pkOf(tenants.EntityType().String(), c.sk), tenants.Master, 0)
	if err == nil && rec == nil {
		c.wrong(Directory, "the directory shows a tenant that has no record")
	}
	return err
}

func (v *verifier) codeRow(ctx context.Context, c *rowCheck, owner string) error {
	c.checked[Codes]++
	entity, code, _ := strings.Cut(c.sk, record.Separator)
	sk, ok := holder(c.row)
	if !ok {
		c.wrong(Codes, "the row does not name the record that holds the code")
		return nil
	}
	plain := pkOf(entity, owner)
	rec, err := v.stored(ctx, driver.Data, plain, sk, 0)
	if err != nil || rec != nil && !rec.IsDeleted && rec.Code == code {
		return err
	}
	partitions := v.of(name{pkOf(partitionWord, owner), plain + record.Separator}, driver.System)
	for {
		row, err := partitions.next(ctx)
		if err != nil {
			return err
		}
		if row == nil || row.PK != pkOf(partitionWord, owner) || !strings.HasPrefix(row.SK, plain+record.Separator) {
			c.wrong(Codes, "the code is held by sort key %q, but no live record of that name has it", sk)
			return nil
		}
		rec, err := v.stored(ctx, driver.Data, row.SK, sk, 0)
		if err != nil || rec != nil && !rec.IsDeleted && rec.Code == code {
			return err
		}
	}
}

func (v *verifier) receiptRow(ctx context.Context, c *rowCheck) error {
	c.checked[Receipts]++
	var value struct {
		PK      string `json:"pk"`
		SK      string `json:"sk"`
		Version int64  `json:"version"`
	}
	if err := c.row.Attributes.Decode(&value); err != nil || value.PK == "" {
		c.wrong(Receipts, "the row does not name a command")
		return nil
	}
	cmd, err := v.stored(ctx, driver.Command, value.PK, value.SK, value.Version)
	if err == nil && cmd == nil {
		c.wrong(Receipts, "the log does not hold version %d of %s", value.Version, printable(pkOf(value.PK, value.SK)))
	}
	return err
}

func (v *verifier) checkpointRow(ctx context.Context, c *rowCheck) error {
	c.checked[Checkpoints]++
	var value struct {
		Position driver.Position `json:"position"`
	}
	if err := c.row.Attributes.Decode(&value); err != nil || value.Position == "" {
		c.wrong(Checkpoints, "the row does not hold a position")
		return nil
	}
	_, err := v.across.Changes(ctx, value.Position, 1)
	if fault.CodeOf(err) == fault.InvalidCursor {
		c.wrong(Checkpoints, "the row holds a position that is not one of this store")
		return nil
	}
	return err
}

func (c *rowCheck) parkedRow() {
	c.checked[Checkpoints]++
	var value struct {
		Handler string `json:"handler"`
		PK      string `json:"pk"`
		SK      string `json:"sk"`
		Version int64  `json:"version"`
	}
	if err := c.row.Attributes.Decode(&value); err != nil || value.Version < 1 || c.sk != pkOf(value.Handler, value.PK)+"@"+value.SK {
		c.wrong(Checkpoints, "the row does not name the record that is parked")
	}
}

// stored returns a row that is read under a PK, where older services may have written it under another.
func (v *verifier) stored(ctx context.Context, c driver.Collection, pk, sk string, version int64) (*record.Record, error) {
	rec, err := v.get(ctx, c, pk, sk, version)
	if rec != nil || err != nil {
		return rec, err
	}
	if pk, ok := older(pk); ok {
		return v.get(ctx, c, pk, sk, version)
	}
	return nil, nil
}
