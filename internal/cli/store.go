package cli

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/dynamodb"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/storage/postgres"
	"github.com/tenantry/tenantry/storage/sqlite"
)

// masterKeyVariable holds the key that seals the keys in a shared store. There is no flag for it: others see those.
const masterKeyVariable = "TENANTRY_MASTER_KEY"

// directory is the flag that names a data directory.
type directory struct {
	Data string `group:"where" default:"tenantry-data" placeholder:"DIR" help:"Data directory. Defaults to tenantry-data."`
}

// exists fails with fault.NotFound where the directory holds no store.
func (d directory) exists() error {
	if _, err := os.Stat(filepath.Join(d.Data, sqlite.FileName)); errors.Is(err, os.ErrNotExist) {
		return fault.New(fault.NotFound, "cli", "there is no store in %s; name its directory with --data, or begin one with tenantry serve", d.Data)
	}
	return nil
}

// tables say which DynamoDB tables are a store.
type tables struct {
	Modules          []moduleOf `group:"where" placeholder:"TYPE=MODULE" help:"Entity types that stand in the tables of another module than the one of their name, as ORDER=product."`
	DynamoDBEndpoint string     `name:"dynamodb-endpoint" env:"TENANTRY_DYNAMODB_ENDPOINT" group:"where" placeholder:"URL" help:"A server that speaks DynamoDB's protocol. Defaults to AWS's own of the region in the AWS environment, which the credentials come from too."`
	TablePrefix      string     `group:"where" placeholder:"ENV-APP" help:"What the names of DynamoDB tables begin with, as local-demo."`
}

// moduleOf says on the command line in which module's tables an entity type is.
type moduleOf struct {
	Type   record.EntityType
	Module string
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *moduleOf) UnmarshalText(text []byte) (err error) {
	name, module, _ := strings.Cut(string(text), "=")
	if m.Type, err = record.ParseEntityType(name); err != nil {
		return err
	}
	if m.Module = module; !moduleName.MatchString(module) {
		return fault.New(fault.InvalidRequest, "cli", "is TYPE=MODULE, as ORDER=product, with a module of a-z, 0-9, _ and .")
	}
	return nil
}

var moduleName = regexp.MustCompile(`^[a-z0-9_.]+$`)

// config returns what the flags say of the tables of entity types. It fails with fault.InvalidRequest without a prefix.
func (t tables) config(types []entity.Type) (dynamodb.Config, error) {
	if t.TablePrefix == "" {
		return dynamodb.Config{}, fault.New(fault.InvalidRequest, "cli", "DynamoDB needs --table-prefix: what the names of the tables begin with, as local-demo")
	}
	if u, err := url.Parse(t.DynamoDBEndpoint); t.DynamoDBEndpoint != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		return dynamodb.Config{}, fault.Invalid("cli", fault.Field{Field: "--dynamodb-endpoint", Problem: "is a URL, as http://127.0.0.1:8000"})
	}
	modules := map[string]string{}
	for _, typ := range types {
		modules[typ.Name.String()] = typ.In()
	}
	for _, m := range t.Modules {
		modules[m.Type.String()] = m.Module
	}
	module := func(entityType string) string {
		if m, ok := modules[entityType]; ok {
			return m
		}
		return strings.ToLower(entityType)
	}
	return dynamodb.Config{Prefix: t.TablePrefix, Endpoint: t.DynamoDBEndpoint, Module: module}, nil
}

// engine says which engine keeps the data, and where that isn't the data directory's.
type engine struct {
	Store      string `group:"where" enum:"sqlite,memory,postgres,dynamodb" default:"sqlite" help:"sqlite; memory, which forgets everything at the end; postgres or dynamodb, which several servers share. Defaults to sqlite."`
	StoreURL   string `name:"store-url" env:"TENANTRY_STORE_URL" group:"where" placeholder:"URL" help:"With postgres: postgres://user@host:5432/database. With a password better in the environment, where other users don't see it."`
	ReadModel  string `name:"read-model" env:"TENANTRY_READ_MODEL" group:"where" placeholder:"WHERE" help:"With memory or dynamodb: the database of the read model, a URL of PostgreSQL, or with memory a directory. Defaults to none; sqlite and postgres hold it themselves."`
	TenantRole string `name:"tenant-role" env:"TENANTRY_TENANT_ROLE" group:"where" placeholder:"ARN" help:"With dynamodb: an IAM role; what a tenant asks for is done in a session of it that AWS keeps to the tenant's partitions. See tenantry policy trust. Defaults to none."`
	Blobs      string `group:"where" placeholder:"WHERE" help:"With dynamodb: where attributes above 32 KiB are, a directory or s3://BUCKET. Defaults to the items themselves."`
	tables
}

// isShared reports whether several hosts may use the store, so that a data directory's keys are not enough.
func (e engine) isShared() bool { return e.Store == "postgres" || e.Store == "dynamodb" }

// source returns the store that the flags name. It fails with fault.InvalidRequest, and never repeats a URL, which may hold a password.
func (e engine) source(ctx context.Context, dir string, types []entity.Type, log *slog.Logger) (driver.Source, error) {
	if err := e.check(); err != nil {
		return driver.Source{}, err
	}
	switch e.Store {
	case "memory":
		return memory.New(), nil
	case "postgres":
		return postgres.At(e.StoreURL, postgres.Options{}), nil
	case "dynamodb":
		cfg, err := e.tables.config(append(types, tenantry.Declarations()...))
		if err != nil {
			return driver.Source{}, err
		}
		cfg.Log, cfg.TenantRole = log, e.TenantRole
		cfg.Blobs, err = e.blobs(ctx)
		return dynamodb.At(cfg), err
	default:
		return sqlite.At(dir), nil
	}
}

// model has an App keep the read model that every server has: the tables of the guide. Without a database for it there is none.
func (e engine) model(cfg *tenantry.Config) (err error) {
	switch {
	case e.ReadModel == "" && e.Store != "sqlite" && e.Store != "postgres":
		return nil
	case isPostgres(e.ReadModel):
		cfg.ReadModel = postgres.At(e.ReadModel, postgres.Options{})
	case e.ReadModel != "":
		cfg.ReadModel = sqlite.At(e.ReadModel)
	}
	cfg.Model, err = readmodel.New(readmodel.Guide())
	return err
}

// isPostgres reports whether a text is a URL of PostgreSQL.
func isPostgres(text string) bool {
	u, err := url.Parse(text)
	_, rest, _ := strings.Cut(text, "://")
	authority, _, _ := strings.Cut(rest, "/") // of which pgx takes what is in front of the first @ for the user
	return err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql") && (u.Host != "" || u.Query().Get("host") != "") && strings.Count(authority, "@") < 2
}

// check returns which flags don't go together.
func (e engine) check() error {
	var problems []fault.Field
	add := func(field, problem string) {
		problems = append(problems, fault.Field{Field: field, Problem: problem})
	}
	switch {
	case e.Store != "postgres" && e.StoreURL != "":
		add("--store-url", "goes with --store postgres")
	case e.Store != "postgres":
	case e.StoreURL == "":
		add("--store-url", "is missing; --store postgres needs it, as postgres://user@host:5432/database, or TENANTRY_STORE_URL")
	case !isPostgres(e.StoreURL):
		add("--store-url", "is not a URL of PostgreSQL, as postgres://user@host:5432/database; in a password @ is %40, / is %2F and % is %25")
	}
	switch {
	case e.ReadModel == "":
	case e.Store == "sqlite" || e.Store == "postgres":
		add("--read-model", "goes with --store memory and dynamodb; "+e.Store+" holds the read model itself")
	case e.Store == "dynamodb" && !isPostgres(e.ReadModel), e.Store == "memory" && strings.Contains(e.ReadModel, "://") && !isPostgres(e.ReadModel):
		add("--read-model", "is a URL of PostgreSQL, as postgres://user@host:5432/database, or with --store memory a directory")
	}
	if e.Store != "dynamodb" && (e.TablePrefix != "" || e.DynamoDBEndpoint != "" || e.Blobs != "" || e.TenantRole != "" || e.Modules != nil) {
		add("--table-prefix, --dynamodb-endpoint, --modules, --blobs, --tenant-role", "go with --store dynamodb")
	}
	if bucket, _ := strings.CutPrefix(e.Blobs, "s3://"); strings.Contains(bucket, "://") || bucket != e.Blobs && (bucket == "" || strings.Contains(bucket, "/")) {
		add("--blobs", "is a directory, or s3:// and the name of a bucket")
	}
	if e.TenantRole != "" && !strings.HasPrefix(e.TenantRole, "arn:") {
		add("--tenant-role", "is a role's ARN, as arn:aws:iam::123456789012:role/shop-tenant")
	}
	if problems != nil {
		return fault.Invalid("cli", problems...)
	}
	if e.Store == "dynamodb" {
		_, err := e.config(nil)
		return err
	}
	return nil
}

// blobs returns where large attributes are, nil for the items themselves.
func (e engine) blobs(ctx context.Context) (dynamodb.BlobStore, error) {
	switch bucket, isBucket := strings.CutPrefix(e.Blobs, "s3://"); {
	case e.Blobs == "":
		return nil, nil
	case isBucket:
		env, err := config.LoadDefaultConfig(ctx)
		if err != nil {
			return nil, fault.Wrap(err, fault.Unavailable, "cli", "the AWS configuration of this process can't be read; check its environment and ~/.aws")
		}
		return dynamodb.S3(s3.NewFromConfig(env), bucket), nil
	}
	return dynamodb.Directory(e.Blobs), nil
}

// masterKey returns the key that seals the keys in a shared store, none for others.
func (e engine) masterKey() (auth.MasterKey, error) {
	if !e.isShared() {
		return auth.MasterKey{}, nil
	}
	text := os.Getenv(masterKeyVariable)
	if strings.TrimSpace(text) == "" {
		return auth.MasterKey{}, fault.New(fault.InvalidRequest, "cli",
			"a store that several servers share holds the keys that sign tokens, sealed: set %s to 32 random bytes; make them with: openssl rand -base64 32", masterKeyVariable)
	}
	key, err := auth.ParseMasterKey(text)
	if err != nil {
		return key, fault.Wrap(err, fault.InvalidRequest, "cli", "%s: %s", masterKeyVariable, fault.As(err).Msg)
	}
	return key, nil
}

// store says where the data is. Every verb that opens a store embeds it.
type store struct {
	directory
	engine
}

// exists fails with fault.NotFound where the flags name a directory that holds no store.
func (s store) exists() error {
	if s.Store != "sqlite" {
		return nil
	}
	return s.directory.exists()
}

// open opens the store, with its keys: those of the data directory, or those in a shared store. The caller closes the App.
func (s store) open(ctx context.Context, cfg tenantry.Config, log *slog.Logger) (*tenantry.App, error) {
	var err error
	if cfg.Store, err = s.source(ctx, s.Data, slices.Clone(cfg.Entities), log); err != nil {
		return nil, err
	}
	if cfg.MasterKey, err = s.masterKey(); err != nil {
		return nil, err
	}
	if !s.isShared() {
		if cfg.Keyring, err = auth.OpenKeyring(s.Data, auth.KeyringOptions{CrossTenantRoles: cfg.CrossTenantRoles, Log: log}); err != nil {
			return nil, err
		}
	}
	cfg.Log = log
	return tenantry.Open(ctx, cfg)
}

// withKeys gives use the keys in a shared store.
func (s store) withKeys(ctx context.Context, use func(auth.Keys) error) (err error) {
	src, err := s.source(ctx, s.Data, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	master, err := s.masterKey()
	if err != nil {
		return err
	}
	opened, err := storage.Open(ctx, src, storage.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	keys, err := tenantry.StoredKeys(opened, master)
	if err != nil {
		return err
	}
	return use(keys)
}

// names returns the entity types of --entities and the built-in ones, once each.
func names(declared []entityType) []string {
	var all []string
	for _, t := range declared {
		all = append(all, t.String())
	}
	for _, t := range tenantry.Declarations() {
		all = append(all, t.Name.String())
	}
	slices.Sort(all)
	return slices.Compact(all)
}
