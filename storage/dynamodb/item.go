package dynamodb

import (
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// item is a row as DynamoDB has it.
type item = map[string]types.AttributeValue

// attributeNames are the attributes that this engine reads and writes, the key excepted: those of mbc-cqrs-serverless, and
// source and metadata. An item's other attributes, its taskToken for one, stay as they are when it is rewritten.
var attributeNames = []string{"id", "code", "name", "tenantCode", "type", "version", "isDeleted", "seq", "ttl", "attributes", "metadata",
	"source", "requestId", "createdAt", "createdBy", "createdIp", "updatedAt", "updatedBy", "updatedIp", "status", "syncMode", "cpk", "csk"}

// namesOf returns the attributes of the items of c. A command's cpk and csk, which say what it was made from, are the other framework's.
func namesOf(c driver.Collection) []string {
	if c == driver.Command {
		return attributeNames[:len(attributeNames)-2]
	}
	return attributeNames
}

func versioned(c driver.Collection) bool { return c == driver.Command || c == driver.History }

// sortKey returns the sk of the item at ref.
func sortKey(ref driver.Ref) string {
	if versioned(ref.Collection) {
		return record.VersionedSK(ref.SK, ref.Version)
	}
	return ref.SK
}

func keyOf(ref driver.Ref) item { return item{"pk": text(ref.PK), "sk": text(sortKey(ref))} }

// encode returns r as an item of c, without its attributes.
func encode(c driver.Collection, r *record.Record) (item, error) {
	it := make(item, len(attributeNames)+2)
	it["pk"], it["sk"] = text(r.PK), text(sortKey(driver.RefOf(c, r)))
	if c != driver.System {
		it["id"] = text(r.ID())
	}
	if c == driver.Data || c == driver.History {
		it["cpk"], it["csk"] = text(r.PK), text(record.VersionedSK(r.SK, r.Version))
	}
	it["version"] = number(strconv.FormatInt(r.Version, 10))
	it["isDeleted"] = boolean(r.IsDeleted)
	it["ttl"] = null()
	if r.TTL != 0 {
		it["ttl"] = number(strconv.FormatInt(r.TTL, 10))
	}
	if r.Seq != "" {
		it["seq"] = number(r.Seq)
	}
	for _, f := range texts {
		if field := *f.of(r); field != "" {
			it[f.name] = text(field)
		}
	}
	for _, f := range times {
		if field := *f.of(r); !field.IsZero() {
			it[f.name] = text(string(field.AppendTable(nil)))
		}
	}
	if len(r.Metadata) > 0 {
		v, err := encodeObject(r.Metadata)
		if err != nil {
			return nil, err
		}
		it["metadata"] = v
	}
	return it, nil
}

// field is an attribute of an item, and the field of a record that it is.
type field[T any] struct {
	name string
	of   func(r *record.Record) *T
}

var texts = []field[string]{
	{"code", func(r *record.Record) *string { return &r.Code }},
	{"name", func(r *record.Record) *string { return &r.Name }},
	{"tenantCode", func(r *record.Record) *string { return &r.TenantCode }},
	{"type", func(r *record.Record) *string { return &r.Type }},
	{"source", func(r *record.Record) *string { return &r.Source }},
	{"requestId", func(r *record.Record) *string { return &r.RequestID }},
	{"createdBy", func(r *record.Record) *string { return &r.CreatedBy }},
	{"createdIp", func(r *record.Record) *string { return &r.CreatedIP }},
	{"updatedBy", func(r *record.Record) *string { return &r.UpdatedBy }},
	{"updatedIp", func(r *record.Record) *string { return &r.UpdatedIP }},
	{"status", func(r *record.Record) *string { return &r.Status }},
	{"syncMode", func(r *record.Record) *string { return &r.SyncMode }},
}

var times = []field[record.Time]{
	{"createdAt", func(r *record.Record) *record.Time { return &r.CreatedAt }},
	{"updatedAt", func(r *record.Record) *record.Time { return &r.UpdatedAt }},
}

// decode returns the record of an item of c, and the pointer to its attributes where they stand in a blob. An item without
// a version, as other services write settings, has version 0.
func decode(c driver.Collection, it item) (rec *record.Record, pointer string, err error) {
	d := decoder{it: it}
	r := &record.Record{PK: d.text("pk"), SK: d.text("sk"), IsDeleted: d.boolean("isDeleted"), Seq: d.number("seq"),
		Version: d.integer("version"), TTL: d.integer("ttl")}
	if versioned(c) {
		if sk, version, ok := splitSK(r.SK); ok {
			r.SK, r.Version = sk, version
		}
	}
	for _, f := range texts {
		*f.of(r) = d.text(f.name)
	}
	for _, f := range times {
		*f.of(r) = d.time(f.name)
	}
	r.Metadata = d.object("metadata")
	if p, ok := it["attributes"].(*types.AttributeValueMemberS); ok && strings.HasPrefix(p.Value, pointerScheme) {
		pointer = p.Value
	} else {
		r.Attributes = d.object("attributes")
	}
	if d.bad != "" {
		return nil, "", fault.New(fault.Internal, "dynamodb", "an item's %s has another type than the data model's; see tenantry tables check", d.bad)
	}
	return r, pointer, nil
}

// splitSK divides the sk of a command or history item.
func splitSK(text string) (sk string, version int64, ok bool) {
	at := strings.LastIndexByte(text, '@')
	if at < 0 {
		return text, 0, false
	}
	version, err := strconv.ParseInt(text[at+1:], 10, 64)
	if err != nil || record.VersionedSK(text[:at], version) != text {
		return text, 0, false
	}
	return text[:at], version, true
}

// decoder reads the attributes of an item. Absent and NULL ones have zero values; bad names the first that has another type.
type decoder struct {
	it  item
	bad string
}

func get[T types.AttributeValue](d *decoder, name string) (v T, ok bool) {
	switch x := d.it[name].(type) {
	case nil, *types.AttributeValueMemberNULL:
	case T:
		return x, true
	default:
		d.bad = name
	}
	return v, false
}

func (d *decoder) text(name string) string {
	if v, ok := get[*types.AttributeValueMemberS](d, name); ok {
		return v.Value
	}
	return ""
}

func (d *decoder) boolean(name string) bool {
	v, ok := get[*types.AttributeValueMemberBOOL](d, name)
	return ok && v.Value
}

func (d *decoder) number(name string) string {
	v, ok := get[*types.AttributeValueMemberN](d, name)
	if !ok {
		return ""
	}
	canonical, err := record.ParseNumber(v.Value)
	if err != nil {
		d.bad = name
	}
	return canonical
}

func (d *decoder) integer(name string) int64 {
	text := d.number(name)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		d.bad = name
	}
	return n
}

func (d *decoder) time(name string) record.Time {
	t, err := record.ParseTime(d.text(name))
	if err != nil {
		d.bad = name
	}
	return t
}

func (d *decoder) object(name string) record.Attributes {
	v, ok := get[*types.AttributeValueMemberM](d, name)
	if !ok {
		return nil
	}
	text, err := appendMap(nil, v.Value)
	if err != nil {
		d.bad = name
	}
	return text
}
