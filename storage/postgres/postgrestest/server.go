//go:build unix

package postgrestest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// program returns the path of one of the server's programs.
func program(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return filepath.EvalSymlinks(path)
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name) // Debian keeps every major version
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("there is no %s; install PostgreSQL (Debian: apt-get install postgresql)", name)
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return newest, nil
}

// version returns the major version in /usr/lib/postgresql/15/bin/initdb.
func version(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

// unprivileged returns whom the server runs as: PostgreSQL refuses root. Nil is the user of this process.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root, and there is no user postgres: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// initialise returns a new directory with an empty cluster; the caller removes it, also after an error.
func initialise() (dir string, err error) {
	initdb, err := program("initdb")
	if err != nil {
		return "", err
	}
	as, err := unprivileged()
	if err != nil {
		return "", err
	}
	if dir, err = os.MkdirTemp("", "tenantry-postgres-"); err != nil {
		return "", err
	}
	if as != nil {
		if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
			return dir, err
		}
	}
	cmd := exec.Command(initdb, "-D", filepath.Join(dir, "data"), "--username="+Superuser, "--auth=trust",
		"--encoding=UTF8", "--no-locale", "--no-sync")
	cmd.Dir, cmd.SysProcAttr = dir, attributes(as)
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("initdb: %w: %s", err, out)
	}
	return dir, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// server is a running server.
type server struct {
	process *os.Process
	ended   chan struct{} // closed when the process has ended
	output  output
}

// serve starts the server of a directory. Commits are synced; what doesn't bear on that is set for short lives.
func serve(dir string, port int) (*server, error) {
	postgres, err := program("postgres")
	if err != nil {
		return nil, err
	}
	as, err := unprivileged()
	if err != nil {
		return nil, err
	}
	s := &server{ended: make(chan struct{})}
	cmd := exec.Command(postgres, "-D", filepath.Join(dir, "data"), "-p", strconv.Itoa(port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on",
		"-c", "shared_buffers=256MB", "-c", "max_wal_size=4GB", "-c", "checkpoint_timeout=1h",
		"-c", "max_connections=200", "-c", "log_min_messages=fatal")
	cmd.Dir, cmd.SysProcAttr = dir, attributes(as)
	cmd.Stdout, cmd.Stderr = &s.output, &s.output
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the kernel ends the server with the thread that started it
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		s.process = cmd.Process
		started <- err
		if err == nil {
			cmd.Wait()
		}
		close(s.ended)
	}()
	return s, <-started
}

// stop ends the server in order, or by force where that takes too long.
func (s *server) stop() {
	s.process.Signal(syscall.SIGINT)
	select {
	case <-s.ended:
	case <-time.After(startLimit):
		s.kill()
	}
}

// kill ends all the server's processes at once. Those that the first has started end by themselves when it is gone, but not
// before they notice.
func (s *server) kill() error {
	children := children(s.process.Pid)
	err := s.process.Kill()
	for _, pid := range children {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	<-s.ended
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// log returns what the server has written.
func (s *server) log() string { return s.output.String() }

// output keeps what a process writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
