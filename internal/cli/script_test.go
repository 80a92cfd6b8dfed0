package cli_test

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/internal/cli"
	"github.com/tenantry/tenantry/storage/dynamodb/dynamodbtest"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
)

func TestMain(m *testing.M) {
	testscript.Main(leakFree{m}, map[string]func(){"tenantry": cli.Main, "curl": curl})
}

// leakFree runs tests and fails where they leave goroutines behind.
type leakFree struct{ *testing.M }

func (m leakFree) Run() int {
	code := m.M.Run()
	postgrestest.Stop()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// TestScripts runs the verbs as an operator does. Beside testscript's own commands there are
//
//	exits CODE tenantry ARGS…      runs the program and expects an exit code
//	serve NAME [VAR=VALUE…] ARGS…  starts tenantry serve on a free port, waits until it is ready, sets NAME to its address
//	                               and NAME_METRICS to that of its metrics
//	let NAME FILE                  sets NAME to the one line of a file
//	issuer NAME AUDIENCE FILE      writes the keys of an issuer into FILE.jwks, and a token of it for a system admin into FILE.token
//	certificate                    writes a certificate for 127.0.0.1 into cert.pem, and its key into key.pem
//	stop NAME                      sends SIGTERM, expects exit code 0, and leaves the output in the files NAME.stdout and NAME.stderr
func TestScripts(t *testing.T) {
	runScripts(t, "testdata/script")
}

// TestScriptsOnASharedStore runs scripts on the stores that several servers share, which flags in the environment name.
func TestScriptsOnASharedStore(t *testing.T) {
	for name, flags := range map[string]func(t *testing.T) []string{
		"postgres": func(t *testing.T) []string {
			return []string{"TENANTRY_STORE=postgres", "TENANTRY_STORE_URL=" + postgrestest.New(t)}
		},
		"dynamodb": onDynamoDB,
	} {
		t.Run(name, func(t *testing.T) { runSharedScripts(t, "testdata/shared", flags(t)) })
	}
}

// TestScriptsOnTables runs scripts about tables that services of another framework write to.
func TestScriptsOnTables(t *testing.T) {
	runSharedScripts(t, "testdata/dynamodb", onDynamoDB(t))
}

// onDynamoDB returns the variables that name a new store on DynamoDB, which has no tables yet.
func onDynamoDB(t *testing.T) []string {
	srv := dynamodbtest.New(t)
	return []string{"TENANTRY_STORE=dynamodb", "TENANTRY_DYNAMODB_ENDPOINT=" + srv.Endpoint, "TENANTRY_TABLE_PREFIX=" + srv.Prefix,
		"AWS_REGION=" + srv.Region, "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test"}
}

// runSharedScripts runs the scripts of a directory on a store that variables name, with a master key.
func runSharedScripts(t *testing.T, dir string, variables []string) {
	key := make([]byte, 32)
	rand.Read(key)
	store := append(variables, "TENANTRY_MASTER_KEY="+base64.StdEncoding.EncodeToString(key))
	runScripts(t, dir, append(store, "STORE="+strings.Join(store, " "))...)
}

// runScripts runs the scripts of a directory with more variables.
func runScripts(t *testing.T, dir string, variables ...string) {
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("COLUMNS", "100")
			env.Vars = append(env.Vars, variables...)
			env.Values[servers{}] = map[string]*server{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "serve": serve, "stop": stop, "let": let,
			"issuer": issuer, "certificate": certificate},
	})
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits CODE tenantry ARGS…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		code = failed.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

func let(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: let NAME FILE")
	}
	ts.Setenv(args[0], strings.TrimSuffix(ts.ReadFile(args[1]), "\n"))
}

func issuer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: issuer NAME AUDIENCE FILE")
	}
	keys, err := auth.NewKeyring(auth.KeyringOptions{Issuer: args[0], Audience: args[1]})
	ts.Check(err)
	token, err := keys.Issue(auth.Claims{Subject: "stranger", Role: auth.SystemAdmin})
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]+".jwks"), keys.JWKS(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[2]+".token"), []byte(token), 0o600))
}

func certificate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: certificate")
	}
	public, private, err := ed25519.GenerateKey(nil)
	ts.Check(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	certificate, err := x509.CreateCertificate(nil, template, template, public, private)
	ts.Check(err)
	key, err := x509.MarshalPKCS8PrivateKey(private)
	ts.Check(err)
	for file, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: certificate}, "key.pem": {Type: "PRIVATE KEY", Bytes: key}} {
		ts.Check(os.WriteFile(ts.MkAbs(file), pem.EncodeToMemory(block), 0o600))
	}
}

// servers is the key of a script's servers, a map by name.
type servers struct{}

type server struct {
	*exec.Cmd
	stdout, stderr bytes.Buffer
	read           chan error // of standard output, when it has ended
}

var (
	variable = regexp.MustCompile(`^[A-Z_]+=`)
	ready    = regexp.MustCompile(`is ready at (https?://[0-9.:]+) .*?(?:metrics are at (http://[0-9.:]+/metrics))?\)`)
)

func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: serve NAME [VAR=VALUE…] ARGS…")
	}
	name, args := args[0], args[1:]
	env := append(strings.Fields(ts.Getenv("STORE")), "HOME="+ts.Getenv("HOME"), "PATH="+ts.Getenv("PATH"))
	for len(args) > 0 && variable.MatchString(args[0]) {
		env, args = append(env, args[0]), args[1:]
	}
	s := &server{Cmd: exec.Command("tenantry", append([]string{"serve", "--addr", "127.0.0.1:0"}, args...)...), read: make(chan error, 1)}
	s.Dir, s.Env, s.Stderr = ts.MkAbs("."), env, &s.stderr
	out, err := s.StdoutPipe()
	ts.Check(err)
	ts.Check(s.Start())
	ts.Value(servers{}).(map[string]*server)[name] = s
	ts.Defer(func() { s.Process.Kill() })
	lines := bufio.NewReader(io.TeeReader(out, &s.stdout))
	first, err := lines.ReadString('\n')
	found := ready.FindStringSubmatch(first)
	if err != nil || found == nil {
		s.Wait()
		ts.Fatalf("the server did not start: %v\n%s%s", err, first, s.stderr.String())
	}
	go func() {
		_, err := io.Copy(io.Discard, lines)
		s.read <- err
	}()
	ts.Setenv(name, found[1])
	ts.Setenv(name+"_METRICS", found[2])
}

func stop(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: stop NAME")
	}
	s := ts.Value(servers{}).(map[string]*server)[args[0]]
	ts.Check(s.Process.Signal(syscall.SIGTERM))
	ts.Check(<-s.read)
	err := s.Wait()
	ts.Logf("%s", s.stderr.String())
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".stdout"), s.stdout.Bytes(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".stderr"), s.stderr.Bytes(), 0o600))
	ts.Check(err)
}
