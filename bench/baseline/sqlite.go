package baseline

import (
	"errors"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"
)

// FileName is the file in a data directory that holds the store.
const FileName = "tenantry.db"

const (
	reading = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -4096"
	writing = reading + "; PRAGMA cache_size = -16384"

	getQuery  = "SELECT version, doc FROM data WHERE pk = ?1 AND sk = ?2"
	listQuery = "SELECT sk, version, doc FROM data WHERE pk = ?1 AND sk >= ?2 AND deleted = 0 ORDER BY sk LIMIT ?3"
)

func open(dir, pragmas string) (*sqlite3.Conn, error) {
	c, err := sqlite3.OpenFlags(filepath.Join(dir, FileName), sqlite3.OPEN_READWRITE)
	if err != nil {
		return nil, err
	}
	return c, c.Exec(pragmas)
}

func prepare(c *sqlite3.Conn, query string) (*sqlite3.Stmt, error) {
	s, _, err := c.PrepareFlags(query, sqlite3.PREPARE_PERSISTENT)
	return s, err
}

// Docs returns the documents of the command and of the record that Tenantry stored for a key.
func Docs(dir, pk, sk string) (command, data []byte, err error) {
	c, err := open(dir, reading)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	for _, get := range []struct {
		query string
		doc   *[]byte
	}{{"SELECT doc FROM command WHERE pk = ?1 AND sk = ?2", &command}, {"SELECT doc FROM data WHERE pk = ?1 AND sk = ?2", &data}} {
		s, err := prepare(c, get.query)
		if err != nil {
			return nil, nil, err
		}
		err = errors.Join(s.BindText(1, pk), s.BindText(2, sk))
		if err == nil && s.Step() {
			*get.doc = s.ColumnBlob(0, nil)
		}
		if err := errors.Join(err, s.Close()); err != nil {
			return nil, nil, err
		}
	}
	if len(command) == 0 || len(data) == 0 {
		return nil, nil, errors.New("baseline: Tenantry has not stored that key")
	}
	return command, data, nil
}

// Reader is the bare prepared statements of a get and of a list, by the driver's own calls. What it returns is the caller's, as
// Tenantry's records are: it lies in one block of memory for each call.
type Reader struct {
	conn      *sqlite3.Conn
	get, list *sqlite3.Stmt
	text      []byte // of the call under way; the next one's is as large
}

// OpenReader opens the store in dir.
func OpenReader(dir string) (*Reader, error) {
	c, err := open(dir, reading)
	if err != nil {
		return nil, err
	}
	r := &Reader{conn: c}
	if r.get, err = prepare(c, getQuery); err == nil {
		r.list, err = prepare(c, listQuery)
	}
	return r, err
}

// Get reads one row.
func (r *Reader) Get(pk, sk string) (version int64, doc []byte, err error) {
	if err := r.get.BindText(1, pk); err != nil {
		return 0, nil, err
	}
	if err := r.get.BindText(2, sk); err != nil {
		return 0, nil, err
	}
	r.text = make([]byte, 0, len(r.text))
	if r.get.Step() {
		version, doc = r.get.ColumnInt64(0), r.keep(r.get.ColumnRawText(1))
	}
	return version, doc, r.get.Reset()
}

// keep copies what is SQLite's.
func (r *Reader) keep(raw []byte) []byte {
	from := len(r.text)
	r.text = append(r.text, raw...)
	return r.text[from:]
}

// Row is one row of a list.
type Row struct {
	SK      []byte
	Version int64
	Doc     []byte
}

// List reads up to limit rows that are not deleted, from a sort key on.
func (r *Reader) List(pk, from string, limit int) ([]Row, error) {
	if err := r.list.BindText(1, pk); err != nil {
		return nil, err
	}
	if err := r.list.BindText(2, from); err != nil {
		return nil, err
	}
	if err := r.list.BindInt(3, limit); err != nil {
		return nil, err
	}
	r.text = make([]byte, 0, len(r.text))
	rows := make([]Row, 0, limit)
	for r.list.Step() {
		rows = append(rows, Row{
			SK:      r.keep(r.list.ColumnRawText(0)),
			Version: r.list.ColumnInt64(1),
			Doc:     r.keep(r.list.ColumnRawText(2)),
		})
	}
	return rows, r.list.Reset()
}

// Close closes the connection.
func (r *Reader) Close() error { return errors.Join(r.get.Close(), r.list.Close(), r.conn.Close()) }
