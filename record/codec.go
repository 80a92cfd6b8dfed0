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
	s := scanner{text: doc, plain: strings.IndexByte(doc, '\\') < 0}
	s.expect('{')
	for first := true; !s.failed; first = false {
		if s.peek() == '}' {
			s.at++
			break
		}
		if !first {
			s.expect(',')
		}
		switch s.name() {
		case "code":
			r.Code = s.string()
		case "name":
			r.Name = s.string()
		case "tenantCode":
			r.TenantCode = s.string()
		case "type":
			r.Type = s.string()
		case "isDeleted":
			r.IsDeleted = s.value() == "true"
			s.failed = s.failed || !r.IsDeleted
		case "seq":
			r.Seq = s.value()
		case "ttl":
			n, err := strconv.ParseInt(s.value(), 10, 64)
			r.TTL, s.failed = n, s.failed || err != nil
		case "source":
			r.Source = s.string()
		case "requestId":
			r.RequestID = s.string()
		case "createdAt":
			r.CreatedAt = s.time()
		case "createdBy":
			r.CreatedBy = s.string()
		case "createdIp":
			r.CreatedIP = s.string()
		case "updatedAt":
			r.UpdatedAt = s.time()
		case "updatedBy":
			r.UpdatedBy = s.string()
		case "updatedIp":
			r.UpdatedIP = s.string()
		case "status":
			r.Status = s.string()
		case "syncMode":
			r.SyncMode = s.string()
		case "metadata":
			r.Metadata = shared(s.value())
		case "attributes":
			r.Attributes = shared(s.value())
		default:
			s.failed = true
		}
	}
	if s.failed || s.at != len(doc) {
		return fault.New(fault.Internal, "record.ParseDoc", "a stored document is not one that this version of Tenantry writes; run tenantry verify")
	}
	return nil
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

// scanner reads the JSON that AppendDoc writes: no white space, well-formed. It checks structure, not grammar.
type scanner struct {
	text   string
	plain  bool // no string of the text holds an escape
	at     int
	failed bool
}

func (s *scanner) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	s.failed = true
	return 0
}

func (s *scanner) expect(c byte) {
	if s.peek() != c {
		s.failed = true
	}
	s.at++
}

// name moves past a member's name and its colon. The names of a document are short and hold no escape.
func (s *scanner) name() string {
	s.expect('"')
	for at := s.at; at < len(s.text)-1; at++ {
		if s.text[at] == '"' {
			name := s.text[s.at:at]
			s.at = at + 1
			s.expect(':')
			return name
		}
	}
	s.failed = true
	return ""
}

func (s *scanner) string() string {
	if s.peek() != '"' || s.failed {
		s.failed = true
		return ""
	}
	rest := s.text[s.at+1:]
	if n := strings.IndexByte(rest, '"'); n >= 0 && (s.plain || strings.IndexByte(rest[:n], '\\') < 0) {
		s.at += n + 2
		return rest[:n]
	}
	start := s.at
	s.skipString()
	if s.failed {
		return ""
	}
	plain, err := jsontext.AppendUnquote(nil, s.text[start:s.at])
	s.failed = s.failed || err != nil
	return string(plain)
}

// skipString moves past the string that begins here.
func (s *scanner) skipString() {
	s.at++
	for !s.failed {
		n := strings.IndexByte(s.text[min(s.at, len(s.text)):], '"')
		if n < 0 {
			s.failed = true
			return
		}
		backslashes := 0
		for at := s.at + n - 1; at >= s.at && s.text[at] == '\\'; at-- {
			backslashes++
		}
		s.at += n + 1
		if backslashes%2 == 0 {
			return
		}
	}
}

// value moves past any value and returns its text, which ends where a comma or the end of the document follows.
func (s *scanner) value() string {
	start, depth := s.at, 0
	for !s.failed {
		switch c := s.peek(); {
		case c == '"':
			s.skipString()
			continue
		case depth == 0 && (c == ',' || c == '}'):
			s.failed = s.at == start
			return s.text[start:s.at]
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
		s.at++
	}
	return ""
}

// shared returns text as Attributes without a copy: neither is ever written to.
func shared(text string) Attributes { return unsafe.Slice(unsafe.StringData(text), len(text)) }

func (s *scanner) time() Time {
	t, err := ParseTime(s.string())
	s.failed = s.failed || err != nil
	return t
}
