// Footprint measures what a server costs to run: resident memory idle and after 200,000 publishes, its start on a store of
// as many records, requests per second, and pages of 10,000 tenants. It builds and runs the real binary.
//
//	go run ./bench/footprint
package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/tenantry/tenantry/bench/load"
)

const connections = 64

func main() {
	publishes := flag.Int("publishes", 200_000, "how many records are created")
	tenants := flag.Int("tenants", 10_000, "how many tenants are created")
	flag.Parse()
	if err := run(*publishes, *tenants); err != nil {
		log.Fatal(err)
	}
}

func run(publishes, tenants int) error {
	dir, err := os.MkdirTemp("", "footprint")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "tenantry")
	if out, err := exec.Command("go", "build", "-o", binary, "./cmd/tenantry").CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w: %s", err, out)
	}
	m := &machine{binary: binary, data: filepath.Join(dir, "data")}
	if _, err := m.start(); err != nil {
		return err
	}
	defer m.stop()
	if err := m.prepare(); err != nil {
		return err
	}
	m.settle()
	fmt.Printf("resident idle                  %6.1f MB\n", m.resident())

	body := []byte(`{"name":"Chair","attributes":{"price":4900,"description":"` + strings.Repeat("a chair that is comfortable. ", 12) + `"}}`)
	if err := m.load("create", publishes, http.StatusCreated, always(load.Request("POST", "/api/data/PRODUCT", m.user, body))); err != nil {
		return err
	}
	m.settle()
	fmt.Printf("resident after %7d publishes %6.1f MB\n", publishes, m.resident())
	if err := m.send("POST", "/api/data/PRODUCT", m.user, []byte(`{"sk":"one","name":"One"}`), http.StatusCreated); err != nil {
		return err
	}
	if err := m.load("get", publishes, http.StatusOK, always(load.Request("GET", "/api/data/PRODUCT/one", m.user, nil))); err != nil {
		return err
	}

	m.stop()
	var starts []time.Duration
	for range 5 {
		took, err := m.start()
		if err != nil {
			return err
		}
		starts = append(starts, took)
		m.stop()
	}
	slices.Sort(starts)
	fmt.Printf("start to first answer          %6.1f ms (median of 5, on %d records)\n", ms(starts[2]), publishes)

	if _, err := m.start(); err != nil {
		return err
	}
	if err := m.pages(tenants); err != nil {
		return err
	}
	return m.streams(min(tenants, 10))
}

func always(request []byte) func(int) []byte { return func(int) []byte { return request } }

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// machine is one server process and its clients.
type machine struct {
	binary, data string
	url          string
	admin, user  string
	process      *exec.Cmd
	client       *http.Client
}

var address = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

// start starts the server and returns the time until it answered.
func (m *machine) start() (time.Duration, error) {
	m.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	began := time.Now()
	m.process = exec.Command(m.binary, "serve", "--data", m.data, "--addr", "127.0.0.1:0", "--rate-limit", "0")
	out, err := m.process.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := m.process.Start(); err != nil {
		return 0, err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if url := address.FindString(lines.Text()); url != "" {
			m.url = url
			break
		}
	}
	go io.Copy(io.Discard, out)
	resp, err := m.client.Get(m.url + "/readyz")
	if err != nil {
		return 0, err
	}
	return time.Since(began), resp.Body.Close()
}

func (m *machine) stop() {
	if m.process != nil {
		m.client.CloseIdleConnections()
		m.process.Process.Signal(syscall.SIGTERM)
		m.process.Wait()
		m.process = nil
	}
}

func (m *machine) prepare() (err error) {
	if m.admin, err = m.token("--sub", "operator", "--role", "system_admin"); err != nil {
		return err
	}
	if err := m.send("POST", "/api/tenant", m.admin, []byte(`{"code":"acme","name":"Acme"}`), http.StatusCreated); err != nil {
		return err
	}
	m.user, err = m.token("--sub", "ann", "--tenant", "acme", "--role", "user")
	return err
}

func (m *machine) token(args ...string) (string, error) {
	out, err := exec.Command(m.binary, append([]string{"token", "--data", m.data, "--ttl", "2h"}, args...)...).Output()
	return strings.TrimSpace(string(out)), err
}

// settle waits until the server's processor time stands still, so that what is measured is what stays.
func (m *machine) settle() {
	for last := ""; ; {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.process.Process.Pid))
		fields := strings.Fields(string(stat))
		if err != nil || len(fields) < 15 {
			return
		}
		if now := fields[13] + " " + fields[14]; now == last {
			return
		} else {
			last = now
		}
		time.Sleep(2 * time.Second)
	}
}

// resident returns the server's resident memory in MB.
func (m *machine) resident() float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.process.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmRSS:" {
			kb, _ := strconv.Atoi(fields[1])
			return float64(kb) / 1024
		}
	}
	return 0
}

func (m *machine) send(method, path, token string, body []byte, want int) error {
	_, err := m.answer(method, path, token, body, want)
	return err
}

func (m *machine) answer(method, path, token string, body []byte, want int) ([]byte, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, m.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("%s %s: %d: %s", method, path, resp.StatusCode, text)
	}
	return text, err
}

// load makes n requests over all connections, and prints requests per second and the 99th percentile.
func (m *machine) load(name string, n, want int, request func(i int) []byte) error {
	result, err := load.Run(strings.TrimPrefix(m.url, "http://"), connections, n, want, request)
	if err != nil {
		return err
	}
	fmt.Printf("HTTP %-6s by %d connections    %6.0f /s, p99 %.1f ms\n", name, connections, result.PerSecond, ms(result.P99))
	return nil
}

// passes is how often the pages of all tenants are listed: one page alone takes as long as the machine's other work lets it.
const passes = 5

// pages creates tenants and lists them by pages of 100.
func (m *machine) pages(tenants int) error {
	err := m.load("tenant", tenants, http.StatusCreated, func(i int) []byte {
		return load.Request("POST", "/api/tenant", m.admin, fmt.Appendf(nil, `{"code":"t%05d","name":"Tenant %d"}`, i, i))
	})
	if err != nil {
		return err
	}
	m.settle()
	var first, last []time.Duration
	pages := 0
	for range passes {
		took, err := m.list()
		if err != nil {
			return err
		}
		pages = len(took)
		tenth := max(1, pages/10)
		first, last = append(first, took[:tenth]...), append(last, took[pages-tenth:]...)
	}
	early, late := median(first), median(last)
	fmt.Printf("pages of tenants               first tenth %.2f ms, last tenth %.2f ms: ratio %.2f (%d pages, %d times)\n", ms(early), ms(late), float64(late)/float64(early), pages, passes)
	return nil
}

// list lists all tenants and returns what each page took.
func (m *machine) list() (took []time.Duration, err error) {
	for path := "/api/tenant?limit=100"; ; {
		began := time.Now()
		text, err := m.answer("GET", path, m.admin, nil, http.StatusOK)
		if err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
		var page struct {
			Cursor string `json:"cursor"`
		}
		if err := json.Unmarshal(text, &page); err != nil || page.Cursor == "" {
			return took, err
		}
		path = "/api/tenant?limit=100&cursor=" + page.Cursor
	}
}

// streams opens 100 event streams for each of some tenants, and prints what one of them costs.
func (m *machine) streams(tenants int) error {
	m.settle()
	before, open := m.resident(), 0
	for n := range tenants {
		token, err := m.token("--sub", "ann", "--tenant", fmt.Sprintf("t%05d", n+1), "--role", "user")
		if err != nil {
			return err
		}
		for range 100 {
			conn, err := net.Dial("tcp", strings.TrimPrefix(m.url, "http://"))
			if err != nil {
				return err
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n\r\n", token)
			status, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil || !strings.Contains(status, " 200 ") {
				return fmt.Errorf("a stream of events: %q %w", status, err)
			}
			open++
		}
	}
	time.Sleep(10 * time.Second) // each is decided about again, ten times
	fmt.Printf("%d event streams             %6.1f KB each\n", open, (m.resident()-before)*1024/float64(open))
	return nil
}

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2]
}
