package postgres

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenantry/tenantry/fault"
)

// Names in the database.
const (
	schema  = "tenantry"
	appRole = "tenantry_app"
	channel = "tenantry"
)

// configure returns how connections are made. Every statement of the engine finds its rows by a key: the planner is kept from
// all that it may prefer while tables are small, and would still use when they have grown. A direct group rests on that: it names its
// tenants where it computes the key of the feed.
func configure(url string, opts Options) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil { // it may hold the password
		return nil, fault.New(fault.Unavailable, "postgres.Open", "the store's URL can't be read; its form is postgres://user:password@host:5432/database")
	}
	cfg.MaxConns = int32(opts.MaxConns)
	cfg.MinConns = 0
	cfg.ConnConfig.ConnectTimeout = opts.ConnectTimeout
	for name, value := range map[string]string{
		"application_name":                    "tenantry",
		"search_path":                         schema,
		"role":                                appRole,
		"statement_timeout":                   milliseconds(opts.StatementTimeout),
		"idle_in_transaction_session_timeout": milliseconds(opts.StatementTimeout),
		"tcp_keepalives_idle":                 "10", // a process that vanished with its machine keeps its locks for 25 s
		"tcp_keepalives_interval":             "5",
		"tcp_keepalives_count":                "3",
		"default_transaction_isolation":       "read committed",
		"plan_cache_mode":                     "force_generic_plan",
		"enable_seqscan":                      "off",
		"enable_hashjoin":                     "off",
		"enable_mergejoin":                    "off",
		"enable_bitmapscan":                   "off",
		"jit":                                 "off",
	} {
		_, set := cfg.ConnConfig.RuntimeParams[name]
		if !set || name == "role" || name == "search_path" || strings.HasPrefix(name, "enable_") { // what else the URL sets stays
			cfg.ConnConfig.RuntimeParams[name] = value
		}
	}
	return cfg, nil
}

func milliseconds(d time.Duration) string {
	return strconv.FormatInt(max(1, d.Milliseconds()), 10)
}

// prepare brings the tables up to date, and makes sure that row-level security binds the connections that cfg makes.
func prepare(ctx context.Context, cfg *pgxpool.Config) error {
	if err := migrate(ctx, cfg.ConnConfig); err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg.ConnConfig.Copy())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var who string
	var owns, bound bool
	if err := conn.QueryRow(ctx, boundQuery, schema).Scan(&who, &owns, &bound); err != nil {
		return err
	}
	if owns || !bound {
		return fault.New(fault.Unavailable, "postgres.Open", "row-level security does not bind the role %s: it is a superuser, has BYPASSRLS, "+
			"owns tables of the schema %s, or a table has lost its policy; mend that as an administrator (ALTER ROLE %s NOSUPERUSER NOBYPASSRLS)",
			who, schema, appRole)
	}
	return nil
}

// boundQuery asks who a connection is, whether it owns a table, and whether the policies of all tables bind it.
const boundQuery = `SELECT current_user::text, bool_or(relowner = current_user::regrole),
		bool_and(relname = 'goose_db_version' OR relrowsecurity AND relforcerowsecurity AND row_security_active(c.oid)
			AND (SELECT array_agg(polname::text) = '{tenants}' FROM pg_policy WHERE polrelid = c.oid))
	FROM pg_class c WHERE relnamespace = $1::text::regnamespace AND relkind = 'r'`
