package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/storage/dynamodb"
	"github.com/tenantry/tenantry/storage/dynamodb/dynamodbtest"
)

// asFunction makes the test binary the program.
const asFunction = "TENANTRY_TEST_FUNCTION"

func TestMain(m *testing.M) {
	if os.Getenv(asFunction) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// A function whose tenants' sessions can't be begun doesn't start: without the flag it would serve tenants with its own rights.
func TestTenantRole(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), asFunction+"=1", "TENANTRY_TABLE_PREFIX=local-demo", "TENANTRY_DYNAMODB_ENDPOINT=http://127.0.0.1:1", "TENANTRY_TENANT_ROLE=shop-tenant")
	said, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(said), "--tenant-role: is a role's ARN") {
		t.Errorf("the program ends with %v: %s", err, said)
	}
}

// service is Lambda's runtime API: it hands the function one event at a time.
type service struct {
	events  chan []byte
	answers chan []byte
	failed  chan string
}

// handler is its routes, with those that tell an extension of the function's end, which never comes here.
func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /2020-01-01/extension/register", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Lambda-Extension-Identifier", "1")
	})
	mux.HandleFunc("GET /2020-01-01/extension/event/next", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", func(w http.ResponseWriter, r *http.Request) {
		select {
		case event := <-s.events:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
			w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(30*time.Second).UnixMilli()))
			w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-central-1:123456789012:function:shop")
			_, _ = w.Write(event) // a function that is gone fails the test elsewhere
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			s.failed <- err.Error()
			return
		}
		s.answers <- body
		w.WriteHeader(http.StatusAccepted)
	})
	mux.HandleFunc("/", func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		s.failed <- fmt.Sprintf("%s: %s %v", r.URL.Path, body, err)
	})
	return mux
}

// function is the program, running.
type function struct {
	*testing.T
	service service
}

// call returns the function's answer to an event.
func (f *function) call(event any, answer any) {
	f.Helper()
	text, err := json.Marshal(event)
	if err != nil {
		f.Fatal(err)
	}
	f.service.events <- text
	select {
	case out := <-f.service.answers:
		if err := json.Unmarshal(out, answer); err != nil {
			f.Fatalf("%v: %s", err, out)
		}
	case problem := <-f.service.failed:
		f.Fatal(problem)
	case <-time.After(30 * time.Second):
		f.Fatal("no answer")
	}
}

func (f *function) request(method, path, token, body string) events.APIGatewayV2HTTPResponse {
	f.Helper()
	in := events.APIGatewayV2HTTPRequest{Version: "2.0", RawPath: path, Body: body, Headers: map[string]string{"authorization": "Bearer " + token, "content-type": "application/json"}}
	in.RequestContext.HTTP.Method, in.RequestContext.HTTP.SourceIP, in.RequestContext.DomainName = method, "203.0.113.7", "x.execute-api.eu-central-1.amazonaws.com"
	var out events.APIGatewayV2HTTPResponse
	f.call(in, &out)
	return out
}

// The program, from its start to its first answer, and then a tenant, a record, and the batch that its stream brings.
func TestFunction(t *testing.T) {
	srv := dynamodbtest.New(t)
	names, modules := []string{"PRODUCT"}, map[string]string{"PRODUCT": "product"}
	for _, typ := range tenantry.Declarations() {
		names, modules[typ.Name.String()] = append(names, typ.Name.String()), typ.In()
	}
	tables := dynamodb.Config{Prefix: srv.Prefix, Endpoint: srv.Endpoint, Region: srv.Region, Credentials: srv.Credentials,
		Module: func(entityType string) string { return modules[entityType] }}
	if _, err := dynamodb.CreateTables(t.Context(), tables, names...); err != nil {
		t.Fatal(err)
	}
	sealing := base64.StdEncoding.EncodeToString([]byte("\x8f\x01\x7c\xe2\x55\xb9\x13\xd0\x6a\x3e\xf7\x84\x29\xcc\x91\x40\x1d\xa6\x5f\xb3\x78\xee\x02\x9b\x63\xd4\x0a\xc7\x36\x8d\xf1\x52"))
	master, err := auth.ParseMasterKey(sealing)
	if err != nil {
		t.Fatal(err)
	}
	app, err := tenantry.Open(t.Context(), tenantry.Config{Store: dynamodb.At(tables), MasterKey: master, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	token, err := app.Keyring().Issue(auth.Claims{Subject: "operator", Role: auth.SystemAdmin})
	if err := errors.Join(err, app.Close()); err != nil {
		t.Fatal(err)
	}
	f := &function{T: t, service: service{make(chan []byte), make(chan []byte, 1), make(chan string, 1)}}
	api := httptest.NewServer(f.service.handler())
	defer api.Close()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program)
	cmd.Env = append(os.Environ(), asFunction+"=1", "AWS_LAMBDA_RUNTIME_API="+strings.TrimPrefix(api.URL, "http://"), "TENANTRY_MASTER_KEY="+sealing,
		"TENANTRY_TABLE_PREFIX="+srv.Prefix, "TENANTRY_DYNAMODB_ENDPOINT="+srv.Endpoint, "AWS_REGION="+srv.Region, "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test")
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_, _ = cmd.Process.Kill(), cmd.Wait() // Lambda freezes and ends a function without a word
		if text, err := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("the function's log (%v):\n%s", err, text)
		}
	}()

	if out := f.request("GET", "/api/me", token, ""); out.StatusCode != 200 {
		t.Fatalf("the first answer: %d %s", out.StatusCode, out.Body)
	}
	t.Logf("from the start of the process to the first answer: %v", time.Since(began))
	if out := f.request("POST", "/api/tenant", token, `{"code":"acme","name":"Acme"}`); out.StatusCode != 201 {
		t.Fatalf("a tenant: %d %s", out.StatusCode, out.Body)
	}
	if out := f.request("POST", "/api/tenants/acme/data/PRODUCT", token, `{"sk":"chair","name":"Chair"}`); out.StatusCode != 201 {
		t.Fatalf("a record: %d %s", out.StatusCode, out.Body)
	}
	batch := events.DynamoDBEvent{Records: []events.DynamoDBEventRecord{{EventSource: "aws:dynamodb", EventName: "INSERT", Change: events.DynamoDBStreamRecord{
		SequenceNumber: "1", Keys: map[string]events.DynamoDBAttributeValue{"pk": events.NewStringAttribute("PRODUCT#acme"), "sk": events.NewStringAttribute("chair")},
		NewImage: map[string]events.DynamoDBAttributeValue{"version": events.NewNumberAttribute("1")}}}}}
	var out events.DynamoDBEventResponse
	began = time.Now()
	if f.call(batch, &out); len(out.BatchItemFailures) > 0 {
		t.Errorf("a batch: %v", out)
	}
	t.Logf("a batch: %v", time.Since(began))
}
