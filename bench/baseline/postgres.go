package baseline

import (
	"context"
	"runtime"

	"github.com/jackc/pgx/v5"
)

// postgresGroup inserts a command and a record for each of its arguments, and takes the places behind the last in the feed for them.
const postgresGroup = `WITH w AS MATERIALIZED (SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS w(pk, sk, command, data, n)),
	take AS (UPDATE tenantry.feed SET position = position + $5::bigint, commits = commits + 1 WHERE id = 1 RETURNING position - $5::bigint AS base),
	c AS (INSERT INTO tenantry.command (position, version, pk, sk, doc) SELECT (SELECT base FROM take) + n, 1, pk, sk, command FROM w)
	INSERT INTO tenantry.data (version, deleted, pk, sk, doc) SELECT 1, false, pk, sk, data FROM w`

// postgresOne is postgresGroup for one insert; the server need not take arrays apart.
const postgresOne = `WITH take AS (UPDATE tenantry.feed SET position = position + 1, commits = commits + 1 WHERE id = 1 RETURNING position),
	c AS (INSERT INTO tenantry.command (position, version, pk, sk, doc) SELECT position, 1, $1, $2, $3 FROM take)
	INSERT INTO tenantry.data (version, deleted, pk, sk, doc) VALUES (1, false, $1, $2, $4)`

// maxPostgresGroup is how many inserts share a statement.
const maxPostgresGroup = 256

// PostgresGroup is a group commit by hand on PostgreSQL: one goroutine puts what others send it into one statement of inserts, by a
// connection that row-level security does not concern. A program that finds out about a commit whose answer was lost, or that tells
// others of its commits, does more.
type PostgresGroup struct {
	conn          *pgx.Conn
	command, data string
	queue         chan wanted
	done          chan error
}

// wanted is a key that somebody waits for.
type wanted struct {
	pk, sk string
	done   chan error
}

// OpenPostgresGroup opens the store in a database for rows with the documents command and data. The URL's user is a superuser.
func OpenPostgresGroup(ctx context.Context, url, command, data string) (*PostgresGroup, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	g := &PostgresGroup{conn: conn, command: command, data: data, queue: make(chan wanted, maxPostgresGroup), done: make(chan error)}
	go g.run()
	return g, nil
}

// PostgresDocs returns the documents of the command and of the record that Tenantry stored for a key.
func PostgresDocs(ctx context.Context, url, pk, sk string) (command, data string, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", "", err
	}
	defer conn.Close(ctx)
	err = conn.QueryRow(ctx, "SELECT c.doc, d.doc FROM tenantry.command c, tenantry.data d WHERE c.pk = $1 AND c.sk = $2 AND d.pk = $1 AND d.sk = $2",
		pk, sk).Scan(&command, &data)
	return command, data, err
}

// Create makes a command and a record, and returns when the server has them on disk.
func (g *PostgresGroup) Create(pk, sk string) error {
	in := wanted{pk: pk, sk: sk, done: make(chan error, 1)}
	g.queue <- in
	return <-in.done
}

func (g *PostgresGroup) run() {
	var group []wanted
	var pks, sks, commands, datas []string
	for first := range g.queue {
		group, pks, sks = append(group[:0], first), append(pks[:0], first.pk), append(sks[:0], first.sk)
		for len(group) < maxPostgresGroup {
			if len(g.queue) == 0 {
				runtime.Gosched() // those who were just answered come again
			}
			if len(g.queue) == 0 {
				break
			}
			in, open := <-g.queue
			if !open {
				break
			}
			group, pks, sks = append(group, in), append(pks, in.pk), append(sks, in.sk)
		}
		var err error
		if len(group) == 1 {
			_, err = g.conn.Exec(context.Background(), postgresOne, first.pk, first.sk, g.command, g.data)
		} else {
			commands, datas = commands[:0], datas[:0] // a program has others for each row
			for range group {
				commands, datas = append(commands, g.command), append(datas, g.data)
			}
			_, err = g.conn.Exec(context.Background(), postgresGroup, pks, sks, commands, datas, len(group))
		}
		for _, in := range group {
			in.done <- err
		}
	}
	g.done <- g.conn.Close(context.Background())
}

// Close ends the goroutine. No Create is under way.
func (g *PostgresGroup) Close() error {
	close(g.queue)
	return <-g.done
}
