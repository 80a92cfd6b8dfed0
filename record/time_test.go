package record_test

import (
	"encoding/json"
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
)

func TestTimeForms(t *testing.T) {
	tests := []struct{ text, wire, table string }{
		{"", "", ""},
		{"2026-01-15T09:00:01.123+00:00", "2026-01-15T09:00:01.123Z", "2026-01-15T09:00:01.123+00:00"},
		{"2026-01-15T09:00:01.000+00:00", "2026-01-15T09:00:01.000Z", "2026-01-15T09:00:01.000+00:00"},
		{"2026-01-15T09:00:01.123Z", "2026-01-15T09:00:01.123Z", "2026-01-15T09:00:01.123+00:00"},
		{"2026-01-15T18:00:01.123+09:00", "2026-01-15T09:00:01.123Z", "2026-01-15T09:00:01.123+00:00"},
		{"2026-01-15T09:00:01.1234567Z", "2026-01-15T09:00:01.123Z", "2026-01-15T09:00:01.123+00:00"},
		{"2026-01-15T09:00:01.5Z", "2026-01-15T09:00:01.500Z", "2026-01-15T09:00:01.500+00:00"},
		{"2024-02-29T23:59:59.999Z", "2024-02-29T23:59:59.999Z", "2024-02-29T23:59:59.999+00:00"},
		{"0001-01-01T00:00:00.000Z", "0001-01-01T00:00:00.000Z", "0001-01-01T00:00:00.000+00:00"},
		{"9999-12-31T23:59:59.999+00:00", "9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999+00:00"},
		// Whole seconds stay whole in the tables.
		{"2026-01-15T09:00:01+00:00", "2026-01-15T09:00:01.000Z", "2026-01-15T09:00:01+00:00"},
		{"2026-01-15T09:00:01Z", "2026-01-15T09:00:01.000Z", "2026-01-15T09:00:01+00:00"},
		{"2026-01-15T18:00:01+09:00", "2026-01-15T09:00:01.000Z", "2026-01-15T09:00:01+00:00"},
	}
	for _, tt := range tests {
		got, err := record.ParseTime(tt.text)
		if err != nil || got.String() != tt.wire || got.IsZero() != (tt.text == "") {
			t.Errorf("%q: %v, %v; want %s", tt.text, got, err, tt.wire)
			continue
		}
		if tt.text == "" {
			continue
		}
		if table := string(got.AppendTable([]byte("x"))); table != "x"+tt.table {
			t.Errorf("%q: in the tables %s; want %s", tt.text, table, tt.table)
		}
		if again, err := record.ParseTime(tt.table); err != nil || again != got {
			t.Errorf("%q: %s comes back as %v, %v", tt.text, tt.table, again, err)
		}
	}
}

func TestParseTimeRefuses(t *testing.T) {
	for _, text := range []string{
		"2026", "2026-01-15", "2026-01-15T09:00:01", "2026-01-15 09:00:01Z", "2026-01-15T9:00:01Z", "2026-01-15T09:00:01,123Z",
		"2026-13-15T09:00:01.123+00:00", "2026-00-15T09:00:01.123+00:00", "2026-02-30T09:00:01.123+00:00", "2026-01-00T09:00:01.123+00:00",
		"2026-01-15T24:00:01.123+00:00", "2026-01-15T09:60:01.123+00:00", "2026-01-15T09:00:60.123+00:00", "2023-02-29T00:00:00.000+00:00",
		"2O26-01-15T09:00:01.123+00:00", "2026-01-15T09:00:01.12x+00:00", "2026-01-15T09:00:01.123+25:00", "+2026-01-15T09:00:01Z",
		"9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00", "2026-01-15T09:00:01.123+00:00 ", "1768467601",
	} {
		if got, err := record.ParseTime(text); !errors.Is(err, fault.InvalidRequest) || !got.IsZero() {
			t.Errorf("%q: %v, %v; want %s", text, got, err, fault.InvalidRequest)
		}
	}
}

func TestTimeAfter(t *testing.T) {
	at := func(text string) time.Time { return moment(t, text).Time() }
	tests := []struct {
		row, asked string
		want       bool
	}{
		{"2026-01-15T09:00:01.500Z", "2026-01-15T09:00:01.499Z", true},
		{"2026-01-15T09:00:01.500Z", "2026-01-15T09:00:01.500Z", false},
		{"2026-01-15T09:00:01.500Z", "2026-01-15T09:00:01.501Z", false},
		// A row with whole seconds counts at its second's end.
		{"2026-01-15T09:00:01Z", "2026-01-15T09:00:00.999Z", true},
		{"2026-01-15T09:00:01Z", "2026-01-15T09:00:01.000Z", true},
		{"2026-01-15T09:00:01Z", "2026-01-15T09:00:01.998Z", true},
		{"2026-01-15T09:00:01Z", "2026-01-15T09:00:01.999Z", false},
		{"2026-01-15T09:00:01.000Z", "2026-01-15T09:00:01.000Z", false},
	}
	for _, tt := range tests {
		if got := moment(t, tt.row).After(at(tt.asked)); got != tt.want {
			t.Errorf("%s after %s: %v", tt.row, tt.asked, got)
		}
	}
}

func TestTimeOfAClock(t *testing.T) {
	clock := time.Date(2026, 11, 23, 21, 3, 4, 567_891_234, time.FixedZone("", 9*3600))
	got := record.At(clock)
	if got.String() != "2026-11-23T12:03:04.567Z" || !got.Time().Equal(clock.Truncate(time.Millisecond)) || got.Time().Location() != time.UTC {
		t.Errorf("%v", got)
	}
	text, err := json.Marshal(struct {
		A record.Time `json:"a"`
		B record.Time `json:"b,omitzero"`
	}{A: got})
	if err != nil || string(text) != `{"a":"2026-11-23T12:03:04.567Z"}` {
		t.Errorf("%s, %v", text, err)
	}
	var back struct{ A record.Time }
	if err := json.Unmarshal(text, &back); err != nil || back.A != got {
		t.Errorf("%v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"A":"now"}`), &back); !errors.Is(err, fault.InvalidRequest) {
		t.Errorf("a word: %v", err)
	}
}

var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$`)

// FuzzParseTime holds ParseTime, whose common form has a parser of its own, against the standard library's.
func FuzzParseTime(f *testing.F) {
	f.Add("2026-01-15T09:00:01.123+00:00")
	f.Add("2026-13-15T09:00:01.123+00:00")
	f.Add("2026-01-15T09:00:01+09:00")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := record.ParseTime(text)
		want, wantErr := time.Parse(time.RFC3339Nano, text)
		year := want.UTC().Year()
		switch good := wantErr == nil && rfc3339.MatchString(text) && year >= 0 && year <= 9999; {
		case text == "":
		case good != (err == nil):
			t.Fatalf("%q is %v, %v", text, got, err)
		case good && got.Time().UnixMilli() != want.UnixMilli():
			t.Fatalf("%q is %v", text, got)
		}
	})
}
