package sqlite

import (
	"context"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// conn is one connection with the statements prepared on it. It is used by one goroutine at a time.
type conn struct {
	*sqlite3.Conn
	prepared   map[string]*sqlite3.Stmt
	statements map[string]*statement // of read models
	rights     rights
}

// settings are what the roles that a connection can have differ in.
type settings struct {
	cache int           // KiB of pages kept in memory
	busy  time.Duration // how long a statement waits for another process's lock
	limit int           // pages that the file may have, 0 for the engine's own limit
}

// uri returns the name of the file at path, which may hold any character, with parameters for opening it.
func uri(path, query string) string {
	u := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: query}
	return u.String()
}

// connect opens a connection to the file at path, which is absolute and exists.
func connect(path string, s settings) (*conn, error) {
	raw, err := sqlite3.OpenFlags(uri(path, "vfs="+filesName), sqlite3.OPEN_READWRITE|sqlite3.OPEN_URI)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, prepared: make(map[string]*sqlite3.Stmt)}
	pragmas := []string{
		"PRAGMA synchronous = FULL",  // logFile rests on it,
		"PRAGMA cache_spill = FALSE", // and on it that pages are logged by a commit, which syncs them, and never before
		"PRAGMA temp_store = MEMORY",
		"PRAGMA wal_autocheckpoint = 0", // the checkpointer's work
		"PRAGMA cache_size = -" + strconv.Itoa(s.cache),
	}
	if s.limit > 0 {
		pragmas = append(pragmas, "PRAGMA max_page_count = "+strconv.Itoa(s.limit))
	}
	err = c.BusyTimeout(s.busy)
	if err == nil {
		err = c.Exec(strings.Join(pragmas, ";"))
	}
	if err == nil {
		err = c.SetAuthorizer(c.authorize)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// stmt returns the prepared statement of a query. The caller resets it after use.
func (c *conn) stmt(query string) (*sqlite3.Stmt, error) {
	if s := c.prepared[query]; s != nil {
		return s, nil
	}
	s, _, err := c.PrepareFlags(query, sqlite3.PREPARE_PERSISTENT)
	if err != nil {
		return nil, err
	}
	c.prepared[query] = s
	return s, nil
}

// exec runs a statement that has no parameters and whose rows, if any, don't matter.
func (c *conn) exec(query string) error {
	s, err := c.stmt(query)
	if err != nil {
		return err
	}
	return s.Exec()
}

// integer returns the first column of a query's only row, 0 where that is NULL.
func (c *conn) integer(query string) (int64, error) {
	s, err := c.stmt(query)
	if err != nil {
		return 0, err
	}
	var n int64
	if s.Step() {
		n = s.ColumnInt64(0)
	}
	return n, s.Reset()
}

// rollback ends the transaction, if there is one, whatever the connection's context says.
func (c *conn) rollback() {
	if !c.GetAutocommit() {
		c.SetInterrupt(context.Background())
		c.Exec("ROLLBACK")
	}
}

func (c *conn) close() {
	for _, s := range c.prepared {
		s.Close()
	}
	c.forget()
	c.Conn.Close()
}
