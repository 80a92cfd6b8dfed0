package record

import (
	"strconv"
	"strings"
	"unsafe"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/fault"
)

// AppendDoc appends the document that engines keep of r: a JSON object of its non-empty fields but pk, sk and version,
// which engines keep beside it. Times are in the form of the tables.
func AppendDoc(dst []byte, r *Record) []byte {
	w := fieldWriter{dst: append(dst, '{')}
	w.string("code", r.Code)
	w.string("name", r.Name)
	w.string("tenantCode", r.TenantCode)
	w.string("type", r.Type)
	if r.IsDeleted {
		w.raw("isDeleted", "true")
	}
	if r.Seq != "" {
		w.raw("seq", r.Seq)
	}
	if r.TTL != 0 {
		w.integer("ttl", r.TTL)
	}
	w.string("source", r.Source)
	w.string("requestId", r.RequestID)
	w.tableTime("createdAt", r.CreatedAt)
	w.string("createdBy", r.CreatedBy)
	w.string("createdIp", r.CreatedIP)
	w.tableTime("updatedAt", r.UpdatedAt)
	w.string("updatedBy", r.UpdatedBy)
	w.string("updatedIp", r.UpdatedIP)
	w.string("status", r.Status)
	w.string("syncMode", r.SyncMode)
	w.object("metadata", r.Metadata)
	w.object("attributes", r.Attributes)
	return append(w.dst, '}')
}

// ParseDoc sets the fields of r that doc, a text that AppendDoc wrote, holds; r's strings and Attributes share doc's memory.
// It fails with fault.Internal, naming no content, where doc has another structure.
func ParseDoc(doc string, r *Record) error {
	if !parseDoc(doc, r) {
		return fault.New(fault.Internal, "record.ParseDoc", "a stored document is not one that this version of Tenantry writes; run tenantry verify")
	}
	return nil
}

func parseDoc(doc string, r *Record) bool {
	if doc == "{}" {
		return true
	}
	plain := strings.IndexByte(doc, '\\') < 0
	created := ""
	for at, before := 0, byte('{'); ; before = ',' {
		if at+1 >= len(doc) || doc[at] != before || doc[at+1] != '"' {
			return false
		}
		var name, v string
		switch name, at = nameAt(doc, at+2); name {
		case "code":
			r.Code, at = stringAt(doc, at, plain)
		case "name":
			r.Name, at = stringAt(doc, at, plain)
		case "tenantCode":
			r.TenantCode, at = stringAt(doc, at, plain)
		case "type":
			r.Type, at = stringAt(doc, at, plain)
		case "isDeleted":
			v, at = valueAt(doc, at)
			if r.IsDeleted = v == "true"; !r.IsDeleted {
				return false
			}
		case "seq":
			r.Seq, at = valueAt(doc, at)
		case "ttl":
			v, at = valueAt(doc, at)
			ttl, err := strconv.ParseInt(v, 10, 64)
			if r.TTL = ttl; err != nil {
				return false
			}
		case "source":
			r.Source, at = stringAt(doc, at, plain)
		case "requestId":
			r.RequestID, at = stringAt(doc, at, plain)
		case "createdAt":
			created, at = stringAt(doc, at, true) // an escape is in no time
			r.CreatedAt, at = timeOf(created, at)
		case "createdBy":
			r.CreatedBy, at = stringAt(doc, at, plain)
		case "createdIp":
			r.CreatedIP, at = stringAt(doc, at, plain)
		case "updatedAt":
			if v, at = stringAt(doc, at, true); v == created { // it has not changed since
				r.UpdatedAt = r.CreatedAt
			} else {
				r.UpdatedAt, at = timeOf(v, at)
			}
		case "updatedBy":
			r.UpdatedBy, at = stringAt(doc, at, plain)
		case "updatedIp":
			r.UpdatedIP, at = stringAt(doc, at, plain)
		case "status":
			r.Status, at = stringAt(doc, at, plain)
		case "syncMode":
			r.SyncMode, at = stringAt(doc, at, plain)
		case "metadata":
			v, at = valueAt(doc, at)
			r.Metadata = shared(v)
		case "attributes":
			v, at = valueAt(doc, at)
			r.Attributes = shared(v)
		default:
			return false
		}
		if at < 0 {
			return false
		}
		if at == len(doc)-1 && doc[at] == '}' {
			return true
		}
	}
}

// Form says which of the three kinds of row a record is written as on the wire.
type Form uint8

// The forms on the wire.
const (
	Data    Form = iota // bare sk, with cpk and csk, the key of the command that made it
	Command             // versioned sk, with status and syncMode
)

// AppendJSON appends r as the wire has it. Extra members, already in JSON, follow the fields: `"changed":true`.
func AppendJSON(dst []byte, r *Record, form Form, extra ...string) []byte {
	w := fieldWriter{dst: append(dst, '{')}
	w.required("pk", r.PK)
	if form == Command {
		w.required("sk", VersionedSK(r.SK, r.Version))
	} else {
		w.required("sk", r.SK)
	}
	w.required("id", r.ID())
	w.required("code", r.Code)
	w.required("name", r.Name)
	w.required("tenantCode", r.TenantCode)
	w.required("type", r.Type)
	w.integer("version", r.Version)
	w.raw("isDeleted", strconv.FormatBool(r.IsDeleted))
	if r.Seq != "" {
		w.raw("seq", r.Seq)
	}
	if r.TTL != 0 {
		w.integer("ttl", r.TTL)
	} else {
		w.raw("ttl", "null")
	}
	w.object("attributes", r.Attributes)
	w.object("metadata", r.Metadata)
	if form == Data {
		w.required("cpk", r.PK)
		w.required("csk", VersionedSK(r.SK, r.Version))
	}
	w.string("source", r.Source)
	w.string("requestId", r.RequestID)
	w.wireTime("createdAt", r.CreatedAt)
	w.string("createdBy", r.CreatedBy)
	w.string("createdIp", r.CreatedIP)
	w.wireTime("updatedAt", r.UpdatedAt)
	w.string("updatedBy", r.UpdatedBy)
	w.string("updatedIp", r.UpdatedIP)
	w.string("status", r.Status)
	w.string("syncMode", r.SyncMode)
	for _, e := range extra {
		w.dst = append(append(w.dst, ','), e...)
	}
	return append(w.dst, '}')
}

type fieldWriter struct{ dst []byte }

func (w *fieldWriter) name(name string) {
	if w.dst[len(w.dst)-1] != '{' {
		w.dst = append(w.dst, ',')
	}
	w.dst = append(append(append(w.dst, '"'), name...), '"', ':')
}

func (w *fieldWriter) raw(name, value string) {
	w.name(name)
	w.dst = append(w.dst, value...)
}

func (w *fieldWriter) object(name string, a Attributes) {
	if len(a) > 0 {
		w.name(name)
		w.dst = append(w.dst, a...)
	}
}

func (w *fieldWriter) integer(name string, n int64) {
	w.name(name)
	w.dst = strconv.AppendInt(w.dst, n, 10)
}

func (w *fieldWriter) string(name, value string) {
	if value != "" {
		w.required(name, value)
	}
}

func (w *fieldWriter) required(name, value string) {
	w.name(name)
	quoted, err := jsontext.AppendQuote(w.dst, value)
	if err != nil { // invalid UTF-8, which no constructor lets in: written with replacement characters
		quoted, _ = jsontext.AppendQuote(w.dst, strings.ToValidUTF8(value, "\ufffd"))
	}
	w.dst = quoted
}

func (w *fieldWriter) tableTime(name string, t Time) {
	if !t.IsZero() {
		w.name(name)
		w.dst = append(t.AppendTable(append(w.dst, '"')), '"')
	}
}

func (w *fieldWriter) wireTime(name string, t Time) {
	if !t.IsZero() {
		w.name(name)
		w.dst = append(t.appendWire(append(w.dst, '"')), '"')
	}
}

// The functions below read the JSON that AppendDoc writes: no white space, well-formed; they check structure, not
// grammar. Each reads what begins at an index of text, 0 or above, and returns it with the index behind it, below 0 where
// something else stands there.

// nameAt reads a member's name, from behind its first quote, and its colon. The names of a document hold no escape.
func nameAt(text string, at int) (string, int) {
	for i := at; i < len(text)-1; i++ {
		if text[i] == '"' && text[i+1] == ':' {
			return text[at:i], i + 2
		}
	}
	return "", -1
}

// stringAt reads a string. Plain says that the text is known to hold no escape.
func stringAt(text string, at int, plain bool) (string, int) {
	if at >= len(text) || text[at] != '"' {
		return "", -1
	}
	rest := text[at+1:]
	n := strings.IndexByte(rest, '"')
	if n >= 0 && (plain || strings.IndexByte(rest[:n], '\\') < 0) {
		return rest[:n], at + n + 2
	}
	end := behindString(text, at)
	if end < 0 {
		return "", -1
	}
	unquoted, err := jsontext.AppendUnquote(nil, text[at:end])
	if err != nil {
		return "", -1
	}
	return string(unquoted), end
}

// behindString returns the index behind the string that begins at an index.
func behindString(text string, at int) int {
	for from := at + 1; ; {
		n := strings.IndexByte(text[from:], '"')
		if n < 0 {
			return -1
		}
		backslashes := 0
		for i := from + n - 1; i >= from && text[i] == '\\'; i-- {
			backslashes++
		}
		if from += n + 1; backslashes%2 == 0 {
			return from
		}
	}
}

// valueAt reads any value, which ends where a comma or the end of the document follows.
func valueAt(text string, at int) (string, int) {
	start, depth := at, 0
	for at >= 0 && at < len(text) {
		switch c := text[at]; {
		case c == '"':
			at = behindString(text, at)
			continue
		case depth == 0 && (c == ',' || c == '}'):
			if at == start {
				return "", -1
			}
			return text[start:at], at
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
		at++
	}
	return "", -1
}

// timeOf returns the time that text says, and at; an index below 0 where it says none.
func timeOf(text string, at int) (Time, int) {
	t, err := ParseTime(text)
	if err != nil {
		return Time{}, -1
	}
	return t, at
}

// shared returns text as Attributes without a copy: neither is ever written to.
func shared(text string) Attributes { return unsafe.Slice(unsafe.StringData(text), len(text)) }
