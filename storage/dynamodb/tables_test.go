package dynamodb

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/dynamodb/dynamodbtest"
)

func bare(t testing.TB) Config {
	t.Helper()
	srv := dynamodbtest.New(t)
	return Config{Prefix: srv.Prefix, Endpoint: srv.Endpoint, Region: srv.Region, Credentials: srv.Credentials}
}

func connected(t testing.TB, cfg Config) server {
	t.Helper()
	s, err := connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func TestCreateTables(t *testing.T) {
	cfg := bare(t)
	s := connected(t, cfg)
	kept := cfg.Prefix + "-order-history" // with another key: it is not touched
	if _, err := s.db.CreateTable(t.Context(), &dynamodb.CreateTableInput{TableName: &kept, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}}}); err != nil {
		t.Fatal(err)
	}
	created, err := CreateTables(t.Context(), cfg, "PRODUCT", "ORDER")
	want := []string{cfg.Prefix + "-tenantry-system", cfg.Prefix + "-product-data", cfg.Prefix + "-product-command", cfg.Prefix + "-product-history",
		cfg.Prefix + "-order-data", cfg.Prefix + "-order-command"}
	if err != nil || !slices.Equal(created, want) {
		t.Fatalf("created %v, %v; want %v", created, err, want)
	}
	for _, name := range want {
		out, err := s.db.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: &name})
		if err != nil || !rightKeys(out.Table) || hasStream(out.Table) != (name[len(name)-5:] == "-data") {
			t.Errorf("the table %s: %+v, %v", name, out.Table, err)
		}
		ttl, err := s.db.DescribeTimeToLive(t.Context(), &dynamodb.DescribeTimeToLiveInput{TableName: &name})
		if err != nil || aws.ToString(ttl.TimeToLiveDescription.AttributeName) != "ttl" {
			t.Errorf("time to live of %s: %+v, %v", name, ttl, err)
		}
	}
	if created, err := CreateTables(t.Context(), cfg, "ORDER", "PRODUCT"); err != nil || len(created) > 0 {
		t.Errorf("created again: %v, %v", created, err)
	}
	problems, err := CheckTables(t.Context(), cfg)
	if err != nil || len(problems) != 1 || problems[0].Table != kept {
		t.Errorf("problems: %+v, %v", problems, err)
	}
}

func TestCheckTables(t *testing.T) {
	r := load(t)
	dropped, still := r.cfg.Prefix+"-master-history", r.cfg.Prefix+"-tenant-data"
	if _, err := r.engine.db.DeleteTable(t.Context(), &dynamodb.DeleteTableInput{TableName: &dropped}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.engine.db.UpdateTable(t.Context(), &dynamodb.UpdateTableInput{TableName: &still, StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(false)}}); err != nil {
		t.Fatal(err)
	}
	problems, err := CheckTables(t.Context(), r.cfg, "MASTER", "NOWHERE")
	if fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("an entity type without a module: %v", err)
	}
	problems, err = CheckTables(t.Context(), r.cfg, "MASTER")
	if err != nil {
		t.Fatal(err)
	}
	type place struct{ Table, PK, SK string }
	var got []place
	for _, p := range problems {
		if p.What == "" {
			t.Errorf("a problem says nothing: %+v", p)
		}
		got = append(got, place{p.Table[len(r.cfg.Prefix)+1:], p.PK, p.SK})
	}
	want := []place{
		{"master-history", "", ""},
		{"product-command", "PLAIN", ""},
		{"product-command", "PRODUCT#acme", "a-2@2"},
		{"product-data", "PLAIN", ""},
		{"tenant-command", "TENANT#MixedCase", ""},
		{"tenant-data", "", ""},
		{"tenant-data", "TENANT#MixedCase", ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestOpeningWithoutTables(t *testing.T) {
	_, err := At(bare(t)).Open(t.Context(), scope.NewRoot())
	says(t, err, fault.Unavailable, "tenantry tables create")
	_, err = At(Config{}).Open(t.Context(), scope.NewRoot())
	says(t, err, fault.Unavailable, "prefix")
}

func TestMissingTable(t *testing.T) {
	cfg := empty(t)
	cfg.Module = func(entityType string) string {
		return map[string]string{"A": "a", "N": "none", "S": "with-dash"}[entityType]
	}
	e := opened(t, cfg)
	for pk, words := range map[string][]string{"N#acme": {"missing", "tenantry tables create"}, "S#acme": {"module"}, "X#acme": {"module"}} {
		ref := driver.Ref{Collection: driver.Data, PK: pk, SK: "1"}
		_, err := e.Get(t.Context(), ref)
		says(t, err, fault.Unavailable, words...)
		_, err = e.BatchGet(t.Context(), []driver.Ref{ref})
		says(t, err, fault.Unavailable, words...)
		_, err = e.Range(t.Context(), driver.Range{Collection: driver.Data, PK: pk, Limit: 1})
		says(t, err, fault.Unavailable, words...)
		_, err = e.Commit(t.Context(), creates(&record.Record{PK: pk, SK: "1", Version: 1}))
		says(t, err, fault.Unavailable, words...)
	}
}
