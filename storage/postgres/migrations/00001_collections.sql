-- +goose Up

-- Keys are compared byte by byte: COLLATE "C". Tenant is the second segment of pk, kept so that the policies below need not
-- take every key apart.

-- Every accepted command. Position is the place in the change feed.
CREATE TABLE command (
    position bigint PRIMARY KEY,
    version  bigint NOT NULL,
    pk       text COLLATE "C" NOT NULL,
    sk       text COLLATE "C" NOT NULL,
    tenant   text COLLATE "C" NOT NULL GENERATED ALWAYS AS (split_part(pk, '#', 2)) STORED,
    doc      text NOT NULL,
    UNIQUE (pk, sk, version)
);

-- The current state of every record.
CREATE TABLE data (
    version bigint  NOT NULL,
    deleted boolean NOT NULL,
    pk      text COLLATE "C" NOT NULL,
    sk      text COLLATE "C" NOT NULL,
    tenant  text COLLATE "C" NOT NULL GENERATED ALWAYS AS (split_part(pk, '#', 2)) STORED,
    doc     text NOT NULL,
    PRIMARY KEY (pk, sk)
);

-- Every state that was replaced.
CREATE TABLE history (
    version bigint NOT NULL,
    pk      text COLLATE "C" NOT NULL,
    sk      text COLLATE "C" NOT NULL,
    tenant  text COLLATE "C" NOT NULL GENERATED ALWAYS AS (split_part(pk, '#', 2)) STORED,
    doc     text NOT NULL,
    PRIMARY KEY (pk, sk, version)
);

-- What the system keeps beside records. Expires is in Unix seconds, 0 for never.
CREATE TABLE system (
    version bigint  NOT NULL,
    expires bigint  NOT NULL,
    deleted boolean NOT NULL,
    pk      text COLLATE "C" NOT NULL,
    sk      text COLLATE "C" NOT NULL,
    tenant  text COLLATE "C" NOT NULL GENERATED ALWAYS AS (split_part(pk, '#', 2)) STORED,
    doc     text NOT NULL,
    PRIMARY KEY (pk, sk)
);

CREATE INDEX system_expires ON system (expires) WHERE expires > 0;

-- One row. Whoever commits locks it first and until the end: commits are made one after the other, and their positions become
-- visible in order. Commits counts them, for those who poll.
CREATE TABLE feed (
    id       integer PRIMARY KEY CHECK (id = 1),
    position bigint NOT NULL,
    commits  bigint NOT NULL
) WITH (fillfactor = 10);

INSERT INTO feed VALUES (1, 0, 0);

-- One row for each connection that writes, with the number of its last commit and the answer to it: one who lost the answer finds
-- it here. A session that is fenced commits nothing more.
CREATE TABLE session (
    id     text COLLATE "C" PRIMARY KEY,
    number bigint      NOT NULL DEFAULT 0,
    answer bigint[],
    fenced boolean     NOT NULL DEFAULT false,
    used   timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 10);

-- Row-level security, the second wall. Every transaction says which tenants it is for: tenantry.tenants is an array of
-- tenants, {#} stands for all of them (no tenant has a # in it). Where it is not set there is no row to see. FORCE binds the
-- owner of the tables too; the application is another role, which owns nothing.
ALTER TABLE command ENABLE ROW LEVEL SECURITY;
ALTER TABLE command FORCE ROW LEVEL SECURITY;
ALTER TABLE data    ENABLE ROW LEVEL SECURITY;
ALTER TABLE data    FORCE ROW LEVEL SECURITY;
ALTER TABLE history ENABLE ROW LEVEL SECURITY;
ALTER TABLE history FORCE ROW LEVEL SECURITY;
ALTER TABLE system  ENABLE ROW LEVEL SECURITY;
ALTER TABLE system  FORCE ROW LEVEL SECURITY;
ALTER TABLE feed    ENABLE ROW LEVEL SECURITY;
ALTER TABLE feed    FORCE ROW LEVEL SECURITY;
ALTER TABLE session ENABLE ROW LEVEL SECURITY;
ALTER TABLE session FORCE ROW LEVEL SECURITY;

CREATE POLICY tenants ON command USING (
    tenant = ANY ((SELECT NULLIF(current_setting('tenantry.tenants', true), '')::text[])::text[])
    OR (SELECT current_setting('tenantry.tenants', true)) = '{#}');
CREATE POLICY tenants ON data USING (
    tenant = ANY ((SELECT NULLIF(current_setting('tenantry.tenants', true), '')::text[])::text[])
    OR (SELECT current_setting('tenantry.tenants', true)) = '{#}');
CREATE POLICY tenants ON history USING (
    tenant = ANY ((SELECT NULLIF(current_setting('tenantry.tenants', true), '')::text[])::text[])
    OR (SELECT current_setting('tenantry.tenants', true)) = '{#}');
CREATE POLICY tenants ON system USING (
    tenant = ANY ((SELECT NULLIF(current_setting('tenantry.tenants', true), '')::text[])::text[])
    OR (SELECT current_setting('tenantry.tenants', true)) = '{#}');
-- These two hold no tenant's data; a transaction that says for whom it is may use them.
CREATE POLICY tenants ON feed    USING (current_setting('tenantry.tenants', true) <> '');
CREATE POLICY tenants ON session USING (current_setting('tenantry.tenants', true) <> '');

GRANT USAGE ON SCHEMA tenantry TO tenantry_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON command, data, history, system, session TO tenantry_app;
GRANT SELECT, UPDATE ON feed TO tenantry_app;
GRANT SELECT ON goose_db_version TO tenantry_app;

-- +goose Down

DROP TABLE session;
DROP TABLE feed;
DROP TABLE system;
DROP TABLE history;
DROP TABLE data;
DROP TABLE command;
