// Package dynamodb is the engine on Amazon DynamoDB, with the tables of mbc-cqrs-serverless: a team that has them points
// Tenantry at them, and services in both languages share them.
//
// A module's records stand in three tables, <prefix>-<module>-command, -data and -history; what the system keeps beside them
// stands in <prefix>-tenantry-system. [CreateTables] makes what is missing, [CheckTables] says what is wrong with what is there.
//
//	src := dynamodb.At(dynamodb.Config{Prefix: "prod-shop"})
//
// A publish is one consistent read and one TransactWriteItems. What fails without an effect (conflicts between transactions,
// throttling, errors of the server, lost connections) is tried again inside the engine, with a token that makes the server do it
// once. Attributes above 32 KiB stand in a [BlobStore]. A partition that takes more writes than DynamoDB gives one partition key is spread over
// several: see [Spread].
//
// The change feed follows DynamoDB Streams: Commit returns no position, and a change appears in the feed within seconds,
// not at once. Storagetest knows this as the gap ImmediateFeed.
//
// AWS's own access control is a second wall behind Scopes: calls for a Scope are made in a session of its tenant where there is a [Config.TenantRole], and
// credentials that can be handed to one tenant's session are limited by a [Policy]. The choices made here are explained
// in docs/adr/0010-dynamodb.md.
package dynamodb

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/storage/driver"
)

// Config says where the tables are.
type Config struct {
	// Prefix begins the name of every table, "<env>-<app>": "local-demo". It has no default.
	Prefix string

	// Endpoint is the URL of a server that speaks DynamoDB's protocol. Defaults to AWS's own of the region.
	Endpoint string

	// Region defaults to that of the AWS environment (AWS_REGION, the shared configuration file).
	Region string

	// Credentials default to those of the AWS environment.
	Credentials aws.CredentialsProvider

	// TenantRole is the ARN of an IAM role, as arn:aws:iam::123456789012:role/shop-tenant. What is done for a Scope is then done in a session of
	// this role that has the tenant's code as its tag "tenant", so that AWS refuses another tenant's partitions: see [RolePolicy] and [TrustPolicy]. What
	// crosses tenants, what the common tenant has, and commits that carry rows of the system beside the tenant's own are done with Credentials.
	// Defaults to none: everything is.
	TenantRole string

	// Module returns the module of an entity type, [a-z0-9_.]+. Defaults to the entity type's name in lower case.
	Module func(entityType string) string

	// Blobs keeps attributes above 32 KiB. Defaults to none: they stand in the item, which DynamoDB limits to 400 KB, and
	// those that another service put into a bucket can't be read.
	Blobs BlobStore

	// Log says which process sequences the change feed, and what it can't read. Defaults to slog.Default.
	Log *slog.Logger

	transport func(http.RoundTripper) http.RoundTripper // between engine and server, for tests that break it
	patience  time.Duration                             // until a call without an answer is made again; 10 s
	term      time.Duration                             // for which a layout is believed; 5 s
}

// At returns the store in the tables of cfg. Opening it fails with fault.Unavailable where the server can't be reached, cfg is
// incomplete, or there are no tables.
func At(cfg Config) driver.Source {
	return driver.NewSource("dynamodb", func(ctx context.Context) (driver.Engine, error) {
		e, err := open(ctx, cfg)
		if err != nil {
			return nil, err
		}
		return e, nil
	}).Shared()
}

// engine is an open store.
type engine struct {
	server
	layouts layouts
	passes  passes
	feed    *feed

	mu     sync.RWMutex // held for reading by every operation, for writing by Close
	closed bool
}

var (
	_ driver.KeyFeed  = (*engine)(nil)
	_ driver.Advancer = (*engine)(nil)
	_ driver.Walled   = (*engine)(nil)
	_ driver.Surveyor = (*engine)(nil)
)

func open(ctx context.Context, cfg Config) (*engine, error) {
	s, err := connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	l, err := s.look(ctx, "dynamodb.Open") // fails unless the system's table can be used
	if err != nil {
		s.close()
		return nil, err
	}
	e := &engine{server: s, feed: newFeed(s)}
	e.layouts.last.Store(l)
	return e, nil
}

// server is DynamoDB with the tables of one Config.
type server struct {
	cfg     Config
	db      *dynamodb.Client
	streams *dynamodbstreams.Client
	roles   *sessions // nil without a TenantRole
	close   func()    // releases idle connections
}

const (
	idleConnections = 256 // as many stay open as there are likely to be writers
	answerLimit     = 10 * time.Second
)

var (
	validPrefix = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}$`)
	validModule = regexp.MustCompile(`^[a-z0-9_.]{1,64}$`)
)

func defaultModule(entityType string) string { return strings.ToLower(entityType) }

func connect(ctx context.Context, cfg Config) (server, error) {
	if err := ctx.Err(); err != nil {
		return server{}, err
	}
	if !validPrefix.MatchString(cfg.Prefix) {
		return server{}, fault.New(fault.Unavailable, "dynamodb.Open", "the prefix of the tables is <env>-<app>, of A-Z, a-z, 0-9, _, - and .; for example local-demo")
	}
	if cfg.Module == nil {
		cfg.Module = defaultModule
	}
	options := []func(*config.LoadOptions) error{config.WithHTTPClient(awshttp.NewBuildableClient()), config.WithRetryer(newRetryer), config.WithLogger(logging.Nop{})}
	if cfg.Region != "" {
		options = append(options, config.WithRegion(cfg.Region))
	}
	if cfg.Credentials != nil {
		options = append(options, config.WithCredentialsProvider(cfg.Credentials))
	}
	env, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return server{}, fault.Wrap(err, fault.Unavailable, "dynamodb.Open", "the AWS configuration of this process can't be read; check its environment and ~/.aws")
	}
	if env.Region == "" {
		return server{}, fault.New(fault.Unavailable, "dynamodb.Open", "no AWS region is configured; set AWS_REGION")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if configured, ok := env.HTTPClient.(*awshttp.BuildableClient); ok { // it trusts the authorities of AWS_CA_BUNDLE
		transport = configured.GetTransport()
	}
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, idleConnections
	transport.ResponseHeaderTimeout = cmp.Or(cfg.patience, answerLimit)
	client := &http.Client{Transport: transport}
	if cfg.transport != nil {
		client.Transport = cfg.transport(transport)
	}
	env.HTTPClient = client
	s := server{cfg: cfg, close: transport.CloseIdleConnections}
	if cfg.TenantRole != "" {
		s.roles = newSessions(sts.NewFromConfig(env), cfg.TenantRole)
	}
	if cfg.Endpoint != "" {
		env.BaseEndpoint = &cfg.Endpoint
	}
	s.db, s.streams = dynamodb.NewFromConfig(env), dynamodbstreams.NewFromConfig(env)
	return s, nil
}

// newRetryer returns how reads are tried again; commits have their own way.
func newRetryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts, o.RateLimiter = maxAttempts, ratelimit.None
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, _ error) (time.Duration, error) { return rest(attempt), nil })
	})
}

// systemTable returns the name of the table of the system collection.
func (s server) systemTable() string { return s.cfg.Prefix + "-tenantry-system" }

// table returns the name of the table in which a partition of a collection stands.
func (s server) table(c driver.Collection, pk string) (string, error) {
	if c == driver.System {
		return s.systemTable(), nil
	}
	entityType, _, _ := strings.Cut(pk, "#")
	return s.moduleTable(c, entityType)
}

func (s server) moduleTable(c driver.Collection, entityType string) (string, error) {
	module := s.cfg.Module(entityType)
	if !validModule.MatchString(module) {
		return "", fault.New(fault.Unavailable, "dynamodb", "the entity type has no module that a table can be named after; a module is of a-z, 0-9, _ and .")
	}
	return s.cfg.Prefix + "-" + module + "-" + c.String(), nil
}

// enter begins an operation, for which the layout holds; the caller ends it with leave when there is no error.
func (e *engine) enter(ctx context.Context, op string) (*layout, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e.mu.RLock()
	if e.closed {
		e.mu.RUnlock()
		return nil, closed(op)
	}
	l, err := e.layout(ctx, op)
	if err != nil {
		e.mu.RUnlock()
	}
	return l, err
}

func (e *engine) leave() { e.mu.RUnlock() }

func closed(op string) error {
	return fault.New(fault.Unavailable, op, "the store is closed; open it again")
}

// Close waits for the operations under way; those that wait for the feed fail.
func (e *engine) Close() error {
	e.feed.stop()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	e.feed.close()
	e.server.close()
	return nil
}
