package postgres

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/tenantry/tenantry/fault"
)

// session is the connection that writes, and its row in the table session. The row says which commit was the last and what was
// answered; the next connection reads it when an answer was lost. It fences the lost one in the same transaction, under the lock of the
// feed: what the server still has of it, or gets of it later, commits nothing. One session holds the feed: it marks direct commits in
// the feed's row instead, which is written anyway, and whoever makes it let go brings its own row up to date.
type session struct {
	cfg       *pgx.ConnConfig
	numbering *numbering
	limit     time.Duration // of one round trip

	conn    *pgx.Conn     // nil where there is none
	process atomic.Uint32 // the server's, at its other end
	id      string        // of the session's row
	number  int64         // of its last commit that was sent
	holds   bool          // the feed, unless another took it meanwhile
	lost    string        // the session before, where it may not have ended; "" where it has

	statements map[shape]string
}

var (
	errFenced  = errors.New("the session was fenced, or does not hold the feed")
	errUnknown = errors.New("the answer to a commit was lost")
)

// connect makes a connection and a session on it, where there is none.
func (s *session) connect(ctx context.Context) error {
	_, _, err := s.resume(ctx)
	return err
}

// resume connects, and returns what a lost session has committed last: its number, 0 where there was no commit, and the answer.
func (s *session) resume(ctx context.Context) (number int64, answer [][]int64, err error) {
	if s.conn != nil {
		return 0, nil, nil
	}
	conn, err := pgx.ConnectConfig(ctx, s.cfg.Copy())
	if err != nil {
		return 0, nil, err
	}
	id, holds := rand.Text(), false
	b := named(everyone)
	b.Queue(s.numbering.lock)
	b.Queue(letGo)
	b.Queue("UPDATE session SET fenced = true, used = now() WHERE id = $1 RETURNING number, answer", s.lost).QueryRow(func(row pgx.Row) error {
		if err := row.Scan(&number, &answer); !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		return nil
	})
	b.Queue("INSERT INTO session (id) VALUES ($1)", id)
	b.Queue(hold, id).Exec(taken(&holds))
	b.Queue(meet)
	if err := conn.SendBatch(ctx, b).Close(); err != nil {
		hangUp(conn)
		return 0, nil, err
	}
	s.conn, s.id, s.number, s.holds, s.lost = conn, id, 0, holds, ""
	s.process.Store(conn.PgConn().PID())
	return number, answer, nil
}

// These three, one after the other under the lock of the feed, have a session hold it where nobody else does who was there lately. The first
// makes the row of the session that held it as if it never had. The last notes whether there are others for the holder to tell of its commits.
const (
	letGo = `UPDATE session SET number = feed.number, answer = ARRAY[ARRAY[-1, 0, 0, feed.base]]
		FROM feed WHERE session.id = feed.holder AND session.number < feed.number`
	hold = `UPDATE feed SET holder = $1, number = 0
		WHERE NOT EXISTS (SELECT FROM session WHERE id = holder AND NOT fenced AND used > now() - interval '2 minutes')`
	meet = `UPDATE feed SET shared = NOT shared
		WHERE shared <> (SELECT count(*) > 1 FROM session WHERE NOT fenced AND used > now() - interval '2 minutes')`
)

// taken notes whether a statement changed something.
func taken(holds *bool) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		*holds = *holds || tag.RowsAffected() > 0
		return nil
	}
}

// commit sends a group and returns the answer. It fails with errUnknown where the group may have been committed, with another error
// where it has not.
func (s *session) commit(ctx context.Context, g *group) ([][]int64, error) {
	if s.conn == nil {
		ctx, cancel := context.WithTimeout(ctx, s.limit)
		defer cancel()
		if err := s.connect(ctx); err != nil {
			return nil, err
		}
	}
	s.number++
	socket := s.conn.PgConn().Conn()
	socket.SetDeadline(time.Now().Add(s.limit)) // a context's, for less than it takes to make and watch one
	answer, err := s.send(ctx, s.conn, g)
	if !s.conn.IsClosed() { // else it is being hung up on, within limits of its own
		socket.SetDeadline(time.Time{})
	}
	switch {
	case err == nil:
		return answer, nil
	case errors.Is(err, errFenced) && s.holds:
		s.holds = false // another session does
	case errors.Is(err, errFenced):
		s.drop()
	case s.conn.IsClosed():
		s.conn, s.lost = nil, s.id
		return nil, errors.Join(errUnknown, err)
	}
	return nil, err // the server's: it has rolled back
}

// inBinary is the format of all parameters and results.
var inBinary = []int16{pgx.BinaryFormatCode}

// send sends a group on a connection and returns the answer, errFenced where the server gave none. It does what pgx.Conn would,
// with parameters that are encoded already.
func (s *session) send(ctx context.Context, conn *pgx.Conn, g *group) ([][]int64, error) {
	statement, parameters := s.statement(g)
	prepared, err := conn.Prepare(ctx, statement, statement)
	if err != nil {
		return nil, err
	}
	if g.careful {
		return s.sendCareful(ctx, conn, g, prepared, parameters)
	}
	answer := conn.PgConn().ExecStatement(ctx, prepared, parameters, inBinary, inBinary)
	base, made := uint64(0), answer.NextRow()
	if made {
		base = binary.BigEndian.Uint64(answer.Values()[0])
	}
	if _, err := answer.Close(); err != nil {
		return nil, err
	}
	if !made {
		return nil, errFenced
	}
	return [][]int64{{-1, 0, 0, int64(base)}}, nil
}

// sendCareful is send for a statement that comes behind the lock of the feed.
func (s *session) sendCareful(ctx context.Context, conn *pgx.Conn, g *group, statement *pgconn.StatementDescription, parameters [][]byte) (answer [][]int64, err error) {
	var b pgconn.Batch
	for _, first := range []struct {
		statement  string
		parameters [][]byte
	}{{nameTenants, [][]byte{[]byte(setting(g.tenants))}}, {s.numbering.lock, nil}} {
		prepared, err := conn.Prepare(ctx, first.statement, first.statement)
		if err != nil {
			return nil, err
		}
		b.ExecStatement(prepared, first.parameters, inBinary, inBinary)
	}
	b.ExecStatement(statement, parameters, inBinary, inBinary)
	results, err := conn.PgConn().ExecBatch(ctx, &b).ReadAll()
	if err != nil {
		return nil, err
	}
	rows := results[len(results)-1].Rows
	if len(rows) == 0 {
		return nil, errFenced
	}
	return answer, conn.TypeMap().Scan(pgtype.Int8ArrayOID, pgx.BinaryFormatCode, rows[0][0], &answer)
}

// statement returns the statement that commits g, and its parameters.
func (s *session) statement(g *group) (string, [][]byte) {
	parameters := [][]byte{[]byte(s.id), integer(s.number), integer(time.Now().Unix())}
	var kind shape
	if g.careful {
		parameters, kind = g.arguments(parameters)
	} else {
		parameters, kind = g.direct.arguments(parameters, []byte(setting(g.tenants))), g.direct.shape()
		if s.holds {
			kind |= holding
		}
	}
	statement, ok := s.statements[kind]
	if !ok {
		if g.careful {
			statement = s.numbering.statement(kind)
		} else {
			statement = s.numbering.directStatement(&g.direct, s.holds)
		}
		s.statements[kind] = statement
	}
	return statement, parameters
}

// outcome finds out about the last commit of the session that was lost, its number: whether it was made, and the answer.
func (s *session) outcome(ctx context.Context, number int64) (made bool, answer [][]int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	last, answer, err := s.resume(ctx)
	return err == nil && last == number, answer, err
}

// drop ends the connection.
func (s *session) drop() {
	if s.conn != nil {
		hangUp(s.conn)
		s.conn = nil
	}
}

// end removes the session from the server.
func (s *session) end() {
	if s.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	b := named(everyone)
	b.Queue("DELETE FROM session WHERE id = $1", s.id)
	s.conn.SendBatch(ctx, b).Close() // a row that stays is swept later
	s.drop()
}

// hangUp closes a connection, in order where that takes no time.
func hangUp(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn.Close(ctx)
}

func unknown(err error) error {
	return fault.Wrap(err, fault.Unavailable, "postgres.Commit",
		"the connection to the database was lost during a commit, and it can't be reached to ask for the outcome; read the record again when it is back")
}
