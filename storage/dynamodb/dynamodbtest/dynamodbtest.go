// Package dynamodbtest gives a test a DynamoDB server of its own: dynoxide, from the npm package of this platform, which it
// installs into the user's cache directory where it is missing. It runs in memory, on a port of its own, until the test ends:
//
//	func TestStore(t *testing.T) {
//		srv := dynamodbtest.New(t)
//		cfg := dynamodb.Config{Prefix: srv.Prefix, Endpoint: srv.Endpoint, Region: srv.Region, Credentials: srv.Credentials}
//		…
//	}
//
// The server is not one for all tests of a package: it begins within milliseconds, and every write to a table with a stream takes it longer
// the more all its streams hold.
//
// Where the server can't be had, tests fail; none is skipped. The server never reports a conflict between transactions,
// throttles or loses an answer: tests that want this put it between the engine and the server.
package dynamodbtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// Version is the version of dynoxide that tests run against.
const Version = "1.2.1"

// Server is a server that runs, and a prefix for its tables.
type Server struct {
	Endpoint    string
	Region      string
	Prefix      string
	Credentials aws.CredentialsProvider
}

// New returns a server that runs until the test ends. It fails the test where there can be none.
func New(t testing.TB) Server {
	t.Helper()
	endpoint, stop, err := start()
	if err != nil {
		t.Fatalf("the DynamoDB server for tests can't be started: %v", err)
	}
	t.Cleanup(stop)
	return Server{Endpoint: endpoint, Region: "us-east-1", Prefix: "test-" + strings.ToLower(rand.Text()),
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}
}

// startLimit bounds how long the server may take to answer.
const startLimit = 20 * time.Second

func start() (endpoint string, stop func(), err error) {
	program, err := Install(context.Background())
	if err != nil {
		return "", nil, err
	}
	for range 5 { // another process may take the port first
		var address string
		if address, err = freeAddress(); err != nil {
			return "", nil, err
		}
		_, port, _ := net.SplitHostPort(address)
		cmd := exec.Command(program, "serve", "--host", "127.0.0.1", "--port", port)
		cmd.SysProcAttr = dieWithParent()
		if err = cmd.Start(); err != nil {
			return "", nil, err
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = cmd.Wait() // it ends by being killed
		}()
		stop := func() {
			_ = cmd.Process.Kill() // it may have ended already
			<-ended
		}
		if err = answers(address, ended); err == nil {
			return "http://" + address, stop, nil
		}
		stop()
	}
	return "", nil, err
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// answers waits until somebody listens at an address, or the server has ended.
func answers(address string, ended <-chan struct{}) error {
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("tcp", address); err == nil {
			return c.Close()
		}
		select {
		case <-tick.C:
		case <-ended:
			return errors.New("dynoxide ended at once")
		case <-limit.C:
			return fmt.Errorf("dynoxide did not answer within %v", startLimit)
		}
	}
}

// Install returns the path of the server's program. It installs it with npm, which checks it against the registry's digest, where it
// is missing. It may be called by several processes at once.
func Install(ctx context.Context) (program string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	arch := strings.Replace(runtime.GOARCH, "amd64", "x64", 1)
	pkg := "@dynoxide/" + runtime.GOOS + "-" + arch
	dir := filepath.Join(cache, "tenantry", "npm", "dynoxide-"+Version)
	program = filepath.Join(dir, "node_modules", filepath.FromSlash(pkg), "dynoxide")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), ".dynoxide-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(fresh)) }()
	install := exec.CommandContext(ctx, "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", fresh, pkg+"@"+Version)
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm install %s@%s: %w: %s", pkg, Version, err, out)
	}
	if err := os.Rename(fresh, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	_, err = os.Stat(program)
	return program, err
}
