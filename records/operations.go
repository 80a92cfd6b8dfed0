package records

import (
	"slices"

	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/route"
)

// Operations returns the operations of section 6: on the acting tenant's records, the same on those of a tenant
// that the path names, and reading what is shared.
func (rs *Routes) Operations() []route.Operation {
	ops := rs.under("/api/data", "", "")
	ops = append(ops, rs.under("/api/tenants/{tenantCode}/data", "Tenant", " of a named tenant")...)
	return append(ops, rs.shared()...)
}

var (
	partition      = route.Param{Name: "partition", Summary: "the segments after the tenant of a time-partitioned PK: at most 3 of [A-Za-z0-9_-]{1,64}, joined by #"}
	includeDeleted = route.Param{Name: "includeDeleted", Summary: "answer deleted records too", Kind: route.Boolean}
	limit          = route.Param{Name: "limit", Summary: "how many at most; 100 by default", Kind: route.Integer, Min: 1, Max: data.MaxLimit}
	cursor         = route.Param{Name: "cursor", Summary: "of the page before"}
	version        = route.Param{Name: "version", Summary: "a version; -1 is whatever is current", Kind: route.Integer, Min: -1, Max: 1<<53 - 1}
	past           = []route.Param{
		{Name: "version", Summary: "read the state at a version", Kind: route.Integer, Min: 1, Max: 1<<53 - 1},
		{Name: "at", Summary: "read the state at a moment", Kind: route.Moment},
	}
	listing = []route.Param{
		{Name: "prefix", Summary: "sort keys that begin with this"},
		{Name: "from", Summary: "sort keys from this one on"},
		{Name: "to", Summary: "sort keys before this one"},
		{Name: "order", Summary: "asc by default", Enum: []string{"asc", "desc"}},
		limit, cursor, includeDeleted, partition,
	}
)

func (rs *Routes) under(prefix, suffix, of string) []route.Operation {
	one := prefix + "/{entityType}/{sk}"
	all := prefix + "/{entityType}"
	conflicts := []fault.Code{fault.NotFound, fault.VersionConflict, fault.IdempotencyConflict, fault.AlreadyExists}
	ops := []route.Operation{
		{ID: "createRecord", Method: "POST", Path: all, Summary: "Create a record", Precheck: rs.mayWrite, Handle: rs.create, Versioned: true,
			Query: []route.Param{{Name: "mode", Summary: "async answers before handlers have run", Enum: []string{"sync", "async"}}, partition},
			Body:  Body{}, Answers: map[int]any{201: route.Data{}, 200: route.Data{}, 202: route.Data{}}, Errors: conflicts},
		{ID: "replaceRecord", Method: "PUT", Path: one, Summary: "Replace a record, or create it", Precheck: rs.mayWrite, Handle: rs.replace, Versioned: true,
			Query: []route.Param{version, partition}, Body: Body{}, Answers: map[int]any{200: route.Data{}, 201: route.Data{}}, Errors: conflicts},
		{ID: "updateRecord", Method: "PATCH", Path: one, Summary: "Merge into a record", Precheck: rs.mayWrite, Handle: rs.update, Versioned: true,
			Query: []route.Param{version, partition}, Body: Patch{}, Answers: map[int]any{200: route.Data{}}, Errors: conflicts},
		{ID: "deleteRecord", Method: "DELETE", Path: one, Summary: "Delete a record", Precheck: rs.mayWrite, Handle: rs.delete, Versioned: true,
			Query: []route.Param{version, partition}, Answers: map[int]any{200: route.Data{}}, Errors: conflicts},
		{ID: "getRecord", Method: "GET", Path: one, Summary: "Read a record, now or in the past", Precheck: rs.mayRead, Handle: rs.get, Versioned: true,
			Query: append(slices.Clone(past), includeDeleted, partition), Answers: map[int]any{200: route.Data{}}, Errors: []fault.Code{fault.NotFound}},
		{ID: "listRecords", Method: "GET", Path: all, Summary: "List records by their sort keys", Precheck: rs.mayRead, Handle: rs.list,
			Query: listing, Answers: map[int]any{200: route.Items{}}, Errors: []fault.Code{fault.NotFound, fault.InvalidCursor}},
		{ID: "getRecords", Method: "POST", Path: all + "/get", Summary: "Read up to 100 records by their sort keys", Precheck: rs.mayRead, Handle: rs.batchGet,
			Query: []route.Param{partition}, Body: Keys{}, Answers: map[int]any{200: route.Items{}}, Errors: []fault.Code{fault.NotFound}},
		{ID: "bulkRecords", Method: "POST", Path: all + "/bulk", Summary: "Create or replace up to 500 records, each in its own commit", Precheck: rs.mayWrite, Handle: rs.bulk,
			Query: []route.Param{partition}, Body: Bulk{}, MaxItems: MaxBulk, Answers: map[int]any{200: []BulkAnswer{}}, Errors: []fault.Code{fault.NotFound}},
		{ID: "recordHistory", Method: "GET", Path: one + "/history", Summary: "Who changed a record, when, from where, and what", Precheck: rs.mayRead, Handle: rs.history,
			Query: []route.Param{limit, cursor, partition}, Answers: map[int]any{200: data.HistoryPage{}}, Errors: []fault.Code{fault.NotFound, fault.InvalidCursor}},
		{ID: "getCommand", Method: "GET", Path: one + "/commands/{version}", Summary: "Read a command and its status", Precheck: rs.mayRead, Handle: rs.command,
			Query: []route.Param{partition}, Answers: map[int]any{200: route.Data{}}, Errors: []fault.Code{fault.NotFound}},
	}
	for i := range ops {
		ops[i].ID += suffix
		ops[i].Summary += of
		ops[i].Tag = "records"
		ops[i].Policy = guard.Policy{Reach: guard.Tenant}
	}
	return ops
}

func (rs *Routes) shared() []route.Operation {
	policy := guard.Policy{Reach: guard.Shared}
	return []route.Operation{
		{ID: "getShared", Method: "GET", Path: "/api/common/{entityType}/{sk}", Tag: "common", Summary: "Read a record that all tenants share", Policy: policy,
			Precheck: rs.mayReadShared, Handle: rs.get, Versioned: true, Query: append(slices.Clone(past), includeDeleted, partition),
			Answers: map[int]any{200: route.Data{}}, Errors: []fault.Code{fault.NotFound}},
		{ID: "listShared", Method: "GET", Path: "/api/common/{entityType}", Tag: "common", Summary: "List the records that all tenants share", Policy: policy,
			Precheck: rs.mayReadShared, Handle: rs.list, Query: listing, Answers: map[int]any{200: route.Items{}}, Errors: []fault.Code{fault.NotFound, fault.InvalidCursor}},
	}
}
