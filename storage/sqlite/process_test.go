package sqlite

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/storage/driver"
)

// childDir is the environment variable that makes this test binary a process that commits to the store in a directory;
// childName says whose records it creates. It prints a line for every commit, after it was acknowledged, until a line comes
// in for each, or its standard input ends.
const (
	childDir  = "TENANTRY_TEST_SQLITE_DIR"
	childName = "TENANTRY_TEST_SQLITE_NAME"
)

func child(dir string) {
	e, err := At(dir).Open(context.Background(), scope.NewRoot())
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	var writers sync.WaitGroup
	orders := bufio.NewScanner(os.Stdin)
	for i := 0; orders.Scan(); {
		n, _ := strconv.Atoi(orders.Text())
		for range n {
			sk := fmt.Sprint(os.Getenv(childName), "-", i)
			i++
			writers.Go(func() {
				if _, err := e.Commit(context.Background(), creates(sk)); err != nil {
					fmt.Println("failed:", err)
					os.Exit(1)
				}
				fmt.Println(sk)
			})
		}
		writers.Wait()
	}
	if err := e.Close(); err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

// process is a child and its pipes.
type process struct {
	*exec.Cmd
	in    *os.File
	lines *bufio.Scanner
}

func startChild(t *testing.T, dir, name string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0])}
	p.Env = append(os.Environ(), childDir+"="+dir, childName+"="+name)
	p.Stderr = os.Stderr
	from, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Stdin, p.in = from, in
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(out)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	from.Close()
	t.Cleanup(func() {
		p.in.Close()
		p.Process.Kill()
		p.Wait()
	})
	return p
}

// commit makes the child commit n records and does not wait.
func (p *process) commit(n int) { fmt.Fprintln(p.in, n) }

// acknowledged waits for a commit and returns its record's sort key.
func (p *process) acknowledged(t *testing.T) string {
	t.Helper()
	if !p.lines.Scan() {
		t.Fatal("the other process ended")
	}
	if strings.HasPrefix(p.lines.Text(), "failed") {
		t.Fatal(p.lines.Text())
	}
	return p.lines.Text()
}

func TestOtherProcessCommits(t *testing.T) {
	dir := t.TempDir()
	e := opened(t, dir, tuning{})
	signal, stop := e.Committed()
	defer stop()
	other := startChild(t, dir, "child")
	var after driver.Position
	for range 5 {
		other.commit(1)
		sk := other.acknowledged(t)
		for deadline := time.After(2 * time.Second); ; {
			changes, err := e.Changes(t.Context(), after, 2)
			if err != nil {
				t.Fatal(err)
			}
			if len(changes) == 1 && changes[0].Command.SK == sk {
				after = changes[0].Position
				break
			}
			select {
			case <-signal:
			case <-deadline:
				t.Fatalf("the commit of another process was not signalled; %d changes are there", len(changes))
			}
		}
	}
}

func TestSignalOfOtherProcessComesInTime(t *testing.T) {
	dir := t.TempDir()
	e := opened(t, dir, tuning{})
	other := startChild(t, dir, "child")
	other.commit(1)
	other.acknowledged(t)
	signal, stop := e.Committed()
	defer stop()
	receive(t, signal, 5*time.Second) // what happened before is not known
	other.commit(1)
	other.acknowledged(t)
	receive(t, signal, 250*time.Millisecond)
}

func receive(t *testing.T, signal <-chan struct{}, limit time.Duration) {
	t.Helper()
	select {
	case <-signal:
	case <-time.After(limit):
		t.Fatalf("no signal came within %v", limit)
	}
}

func TestTwoProcessesCommitAtOnce(t *testing.T) {
	const each = 60
	dir := t.TempDir()
	e := opened(t, dir, tuning{})
	one, two := startChild(t, dir, "one"), startChild(t, dir, "two")
	one.commit(each)
	two.commit(each)
	var own sync.WaitGroup
	for i := range each {
		own.Go(func() {
			if _, err := e.Commit(context.Background(), creates(fmt.Sprint("own-", i))); err != nil {
				t.Errorf("a commit beside other processes: %v", err)
			}
		})
	}
	own.Wait()
	for range each {
		one.acknowledged(t)
		two.acknowledged(t)
	}
	changes, err := e.Changes(t.Context(), "", 10*each)
	if err != nil || len(changes) != 3*each {
		t.Errorf("got %d changes, %v; want %d", len(changes), err, 3*each)
	}
}

func TestAcknowledgedSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	var acknowledged []string
	for life := range 4 {
		victim := startChild(t, dir, fmt.Sprint("life", life))
		victim.commit(200)
		for range 20 * (life + 1) {
			acknowledged = append(acknowledged, victim.acknowledged(t))
		}
		if err := victim.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for victim.lines.Scan() { // what it still managed to say
			acknowledged = append(acknowledged, victim.lines.Text())
		}
		e := opened(t, dir, tuning{})
		for _, sk := range acknowledged {
			for _, c := range []driver.Collection{driver.Data, driver.Command} {
				if rec, err := e.Get(t.Context(), driver.RefOf(c, row1(sk, 1))); err != nil || rec == nil {
					t.Fatalf("the %v row of an acknowledged commit is lost: %v", c, err)
				}
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if got := value(t, tool(t, dir), "SELECT count(*) FROM command FULL JOIN data USING (pk, sk, version) WHERE command.doc IS NULL OR data.doc IS NULL"); got != "0" {
			t.Errorf("%s commits were made in part", got)
		}
	}
}

func TestProcessesThatCreateTheStoreAtOnce(t *testing.T) {
	dir := t.TempDir()
	var processes []*process
	for i := range 4 {
		processes = append(processes, startChild(t, dir, fmt.Sprint(i)))
	}
	var engines sync.WaitGroup
	for range 4 {
		engines.Go(func() {
			e, err := At(dir).Open(t.Context(), scope.NewRoot())
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { e.Close() })
		})
	}
	for _, p := range processes {
		p.commit(1)
	}
	for _, p := range processes {
		p.acknowledged(t)
	}
	engines.Wait()
	c := tool(t, dir)
	if got := value(t, c, "SELECT group_concat(version_id, ' ') FROM (SELECT version_id FROM goose_db_version ORDER BY id)"); got != "0 1" {
		t.Errorf("the migrations that were made: %s, want 0 1", got)
	}
	if got := value(t, c, "SELECT count(*) FROM data"); got != "4" {
		t.Errorf("%s records, want 4", got)
	}
}
