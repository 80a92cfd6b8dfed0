-- +goose Up

-- Every accepted command. Position is the place in the change feed: AUTOINCREMENT never gives one twice.
CREATE TABLE command (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    pk       TEXT    NOT NULL,
    sk       TEXT    NOT NULL,
    version  INTEGER NOT NULL,
    doc      TEXT    NOT NULL,
    UNIQUE (pk, sk, version)
);

-- The current state of every record.
CREATE TABLE data (
    pk      TEXT    NOT NULL,
    sk      TEXT    NOT NULL,
    version INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    doc     TEXT    NOT NULL,
    PRIMARY KEY (pk, sk)
);

-- Every state that was replaced.
CREATE TABLE history (
    pk      TEXT    NOT NULL,
    sk      TEXT    NOT NULL,
    version INTEGER NOT NULL,
    doc     TEXT    NOT NULL,
    PRIMARY KEY (pk, sk, version)
);

-- What the system keeps beside records. Expires is in Unix seconds, 0 for never.
CREATE TABLE system (
    pk      TEXT    NOT NULL,
    sk      TEXT    NOT NULL,
    version INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    doc     TEXT    NOT NULL,
    PRIMARY KEY (pk, sk)
);

CREATE INDEX system_expires ON system (expires) WHERE expires > 0;

-- A migration and the row that says so are one transaction: of two processes that run it at once, one fails here.
CREATE UNIQUE INDEX goose_db_version_once ON goose_db_version (version_id);

-- +goose Down

DROP INDEX goose_db_version_once;
DROP TABLE system;
DROP TABLE history;
DROP TABLE data;
DROP TABLE command;
