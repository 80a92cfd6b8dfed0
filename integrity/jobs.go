package integrity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// What the system keeps of background work: JOB#tenant / kind#part#…, JOBS#common / tenant#kind, DELIVERY#tenant / webhook#ID. See
// docs/adr/0015-jobs.md and docs/adr/0016-webhooks.md.
const (
	jobWord      = "JOB"
	jobsWord     = "JOBS"
	deliveryWord = "DELIVERY"
)

// job is what a row says of a job, of one that waits or runs and of one that is kept.
type job struct {
	ID     string `json:"id"`
	Tenant string `json:"tenant"`
	Unique string `json:"unique"`
	Worker string `json:"worker"`
	State  string `json:"state"`
}

// jobName is what the sort key of a row of JOB#tenant names.
type jobName struct{ kind, part, rest string }

// jobNameOf takes a sort key apart; ok is false for one that no queue writes.
func jobNameOf(sk string) (n jobName, ok bool) {
	kind, rest, _ := strings.Cut(sk, record.Separator)
	part, rest, more := strings.Cut(rest, record.Separator)
	n = jobName{kind, part, rest}
	switch part {
	case "claims":
		return n, kind != "" && !more
	case "due", "kept", "moved":
		_, err := ulid.ParseStrict(rest)
		return n, kind != "" && err == nil
	case "unique":
		sum, err := hex.DecodeString(rest)
		return n, kind != "" && err == nil && len(sum) == sha256.Size
	}
	return n, false
}

func (n jobName) sk(part, rest string) string { return pkOf(n.kind, part, rest) }

// jobRow verifies a row of a tenant's jobs.
func (v *verifier) jobRow(ctx context.Context, c *rowCheck, owner string) error {
	c.checked[Jobs]++
	n, ok := jobNameOf(c.sk)
	if at, _ := locate(c.pk); !ok || !at.plain {
		c.wrong(Jobs, "the row does not name a job of a tenant")
		return nil
	}
	if c.row.TenantCode != "" && c.row.TenantCode != owner {
		c.wrong(Jobs, "tenantCode is not the tenant of the pk")
	}
	switch n.part {
	case "due", "kept":
		return v.job(ctx, c, n, owner)
	case "moved":
		var value struct {
			Place string `json:"place"`
		}
		if c.row.Attributes.Decode(&value) != nil {
			c.wrong(Jobs, "the row does not say where its job waits")
			return nil
		}
		if j, err := v.jobAt(ctx, c.pk, n.sk("due", value.Place)); err != nil || j != nil && j.ID == n.rest {
			return err
		}
		c.wrong(Jobs, "where the row says that its job waits, there is none")
	case "unique":
		return v.uniqueRow(ctx, c, n)
	case "claims":
		var value struct {
			Running []string `json:"running"`
		}
		if c.row.Attributes.Decode(&value) != nil {
			c.wrong(Jobs, "the row does not say which jobs run")
		}
	}
	return nil
}

// job verifies a job: that it is its tenant's, and that what finds it is there.
func (v *verifier) job(ctx context.Context, c *rowCheck, n jobName, owner string) error {
	var j job
	if c.row.Attributes.Decode(&j) != nil {
		c.wrong(Jobs, "the row can't be read as a job")
		return nil
	}
	if j.Tenant != owner {
		c.wrong(Jobs, "the job was ordered in another tenant than the one whose partition it stands in")
		return nil
	}
	if n.part == "kept" {
		if j.ID != n.rest || j.State != "dead" && j.State != "dropped" {
			c.wrong(Jobs, "the row does not say what became of the job that it is named after")
		}
		return nil
	}
	listed, err := v.get(ctx, driver.System, pkOf(jobsWord, systemOwner), pkOf(owner, n.kind), 0)
	if err != nil {
		return err
	}
	if listed == nil {
		c.wrong(Jobs, "the directory of jobs does not have the tenant, so nobody looks for the job")
	}
	if j.ID != n.rest {
		moved, err := v.get(ctx, driver.System, c.pk, n.sk("moved", j.ID), 0)
		if err != nil {
			return err
		}
		if moved == nil {
			c.wrong(Jobs, "the job waits elsewhere than under its ID, and no row says where")
		}
	}
	if j.Unique == "" || j.Worker != "" {
		return nil
	}
	sum := sha256.Sum256([]byte(j.Unique))
	held, err := v.get(ctx, driver.System, c.pk, n.sk("unique", hex.EncodeToString(sum[:])), 0)
	if err != nil {
		return err
	}
	if held == nil || idOf(held) != j.ID {
		c.wrong(Jobs, "the job waits under a unique text, and another may be ordered under it")
	}
	return nil
}

// uniqueRow verifies that a job waits under the text that a row holds.
func (v *verifier) uniqueRow(ctx context.Context, c *rowCheck, n jobName) error {
	id := idOf(c.row)
	j, err := v.jobAt(ctx, c.pk, n.sk("due", id))
	if err == nil && j == nil {
		var moved *record.Record
		var value struct {
			Place string `json:"place"`
		}
		if moved, err = v.get(ctx, driver.System, c.pk, n.sk("moved", id), 0); err == nil && moved != nil && moved.Attributes.Decode(&value) == nil {
			j, err = v.jobAt(ctx, c.pk, n.sk("due", value.Place))
		}
	}
	if err != nil {
		return err
	}
	if j == nil {
		c.wrong(Jobs, "no job waits under the unique text, and orders under it are lost")
		return nil
	}
	if sum := sha256.Sum256([]byte(j.Unique)); hex.EncodeToString(sum[:]) != n.rest {
		c.wrong(Jobs, "the row names a job that has another unique text")
	}
	return nil
}

func idOf(row *record.Record) string {
	var value struct {
		ID string `json:"id"`
	}
	if row.Attributes.Decode(&value) != nil {
		return ""
	}
	return value.ID
}

// jobAt returns what a row says of a job, nil where there is none.
func (v *verifier) jobAt(ctx context.Context, pk, sk string) (*job, error) {
	row, err := v.get(ctx, driver.System, pk, sk, 0)
	if err != nil || row == nil {
		return nil, err
	}
	var j job
	if row.Attributes.Decode(&j) != nil {
		return nil, nil // its own check says so
	}
	return &j, nil
}

// jobsRow verifies a row of the directory of jobs. One of a tenant that has none is removed by whoever looks there.
func (c *rowCheck) jobsRow(owner string) {
	c.checked[Jobs]++
	if at, ok := locate(pkOf(jobWord, c.sk)); !ok || at.older || at.plain || owner != systemOwner {
		c.wrong(Jobs, "the row does not name a tenant and a kind of jobs")
	}
}

// deliveryRow verifies that a delivery tells of a record of its own tenant.
func (c *rowCheck) deliveryRow(owner string) {
	c.checked[Jobs]++
	if c.sk == "made" {
		return
	}
	var value struct {
		WebhookID string `json:"webhookId"`
		ID        string `json:"id"`
		Command   *struct {
			PK string `json:"pk"`
		} `json:"command"`
	}
	if c.row.Attributes.Decode(&value) != nil || c.sk != pkOf(value.WebhookID, value.ID) {
		c.wrong(Jobs, "the row does not name a delivery")
		return
	}
	if value.Command == nil {
		return
	}
	if at, ok := locate(value.Command.PK); !ok || at.tenant.String() != owner {
		c.wrong(Jobs, "the delivery is of a record of another tenant")
	}
}
