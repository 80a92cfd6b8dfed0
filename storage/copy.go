package storage

import (
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
)

// CopyOf returns the row that keeps a copy of rec beside it, so that a list of such copies is one ordered read. Its version
// is rec's. It has no value where rec's attributes nest too deep to be kept inside another document: whoever reads it reads
// the record then.
func CopyOf(owner, sk string, rec *record.Record) Row {
	value, err := record.ParseAttributes(record.AppendDoc(nil, rec))
	if err != nil {
		value = nil
	}
	return Row{Owner: owner, SK: sk, Version: rec.Version, Value: value}
}

// Copied returns the record that the row, one from CopyOf, keeps a copy of, without its key, which the row's own stands for; nil where
// it has no value. It fails with fault.Internal for a row of another form.
func (r Row) Copied() (*record.Record, error) {
	if r.Value == nil {
		return nil, nil
	}
	rec := &record.Record{Version: r.Version}
	if err := record.ParseDoc(string(r.Value), rec); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "storage.Copied", "a copy that is kept of a record has another form; run tenantry verify")
	}
	return rec, nil
}
