package dynamodb

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/maypok86/otter/v2"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// tenantTag is the tag of a session that says whose it is.
const tenantTag = "tenant"

// How many tenants' sessions are kept, for how long each is asked for, and how long before its end another is begun.
const (
	maxSessions    = 10_000
	sessionTerm    = time.Hour // the longest that a role which was assumed itself, as that of a container is, may ask for
	sessionReserve = 2 * time.Minute
)

// sessions are those of tenants in one role.
type sessions struct {
	sts  stscreds.AssumeRoleAPIClient
	role string
	of   *otter.Cache[tenant.Code, *aws.CredentialsCache]
}

func newSessions(client stscreds.AssumeRoleAPIClient, role string) *sessions {
	return &sessions{sts: client, role: role, of: otter.Must(&otter.Options[tenant.Code, *aws.CredentialsCache]{
		MaximumSize: maxSessions,
		Executor:    func(task func()) { task() }, // no goroutines that nobody waits for
	})}
}

// credentials returns those of a tenant's session, which begins with the first call that is made in it.
func (s *sessions) credentials(of tenant.Code) aws.CredentialsProvider {
	if known, ok := s.of.GetIfPresent(of); ok {
		return known
	}
	role := stscreds.NewAssumeRoleProvider(s.sts, s.role, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = "tenantry@" + of.String()[:min(len(of.String()), 55)] // it has at most 64 characters; the tag says all
		o.Duration = sessionTerm
		o.Tags = []types.Tag{{Key: aws.String(tenantTag), Value: aws.String(of.String())}}
	})
	known, _ := s.of.SetIfAbsent(of, aws.NewCredentialsCache(role, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = sessionReserve }))
	return known
}

// caller is an engine for whom it is called: a tenant, in whose session it makes its calls, or with the zero Code the process itself.
type caller struct {
	*engine
	of tenant.Code
}

// Within implements driver.Walled. What the common tenant has is reached by the process itself.
func (e *engine) Within(of tenant.Code) driver.Engine {
	if e.roles == nil || of.IsCommon() {
		return e
	}
	return caller{e, of}
}

// session returns how a call about rows is signed: in the tenant's session, or by the process itself where one of them is the system's. A row of another
// tenant changes nothing, so that it is refused.
func (c caller) session(rows ...driver.Ref) func(*dynamodb.Options) {
	if c.of.IsZero() || slices.ContainsFunc(rows, systems) {
		return func(*dynamodb.Options) {}
	}
	return func(o *dynamodb.Options) { o.Credentials = c.roles.credentials(c.of) }
}

// systems reports whether a row is the system's, and none that it keeps for one tenant's publishes.
func systems(row driver.Ref) bool {
	word, _, _ := strings.Cut(row.PK, record.Separator)
	return row.Collection == driver.System && !slices.Contains(keptWords, word)
}

func (e *engine) Get(ctx context.Context, ref driver.Ref) (*record.Record, error) {
	return caller{engine: e}.Get(ctx, ref)
}

func (e *engine) BatchGet(ctx context.Context, refs []driver.Ref) ([]*record.Record, error) {
	return caller{engine: e}.BatchGet(ctx, refs)
}

func (e *engine) Range(ctx context.Context, r driver.Range) ([]*record.Record, error) {
	return caller{engine: e}.Range(ctx, r)
}

func (e *engine) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	return caller{engine: e}.Commit(ctx, b)
}
