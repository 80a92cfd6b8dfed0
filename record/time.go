package record

import (
	"time"

	"github.com/tenantry/tenantry/fault"
)

// Time is a moment in milliseconds. Rows that mbc-cqrs-serverless wrote have whole seconds; such a Time
// counts at its second's end when the past is read. The zero Time is none.
type Time struct {
	milli   int64
	seconds bool
}

// At returns t, of the years 0 to 9999, cut to milliseconds.
func At(t time.Time) Time { return Time{milli: t.UnixMilli()} }

// ParseTime returns the time that text, RFC 3339 with or without a fraction, spells, cut to milliseconds. "" gives the zero
// Time. It fails with fault.InvalidRequest.
func ParseTime(text string) (Time, error) {
	if text == "" {
		return Time{}, nil
	}
	if t, ok := parseTable(text); ok {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	strict := len(text) > 19 && text[13] == ':' && text[19] != ',' // time.Parse takes hours of one digit, and commas
	if year := t.UTC().Year(); err != nil || !strict || year < 0 || year > 9999 {
		return Time{}, fault.Wrap(err, fault.InvalidRequest, "record.ParseTime", "a time is not RFC 3339, as 2006-01-02T15:04:05.000Z")
	}
	return Time{milli: t.UnixMilli(), seconds: text[19] != '.'}, nil
}

// parseTable reads the form that AppendTable writes, without the general parser's cost.
func parseTable(s string) (Time, bool) {
	if len(s) != 29 || s[23:] != "+00:00" || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' || s[19] != '.' {
		return Time{}, false
	}
	year, month, day := digits(s[0:4]), digits(s[5:7]), digits(s[8:10])
	hour, minute, second, milli := digits(s[11:13]), digits(s[14:16]), digits(s[17:19]), digits(s[20:23])
	if min(year, month-1, day-1, hour, minute, second, milli) < 0 || month > 12 || hour > 23 || minute > 59 || second > 59 {
		return Time{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, milli*1e6, time.UTC)
	if t.Day() != day { // the month is shorter
		return Time{}, false
	}
	return Time{milli: t.UnixMilli()}, true
}

// digits returns the number that text spells, below 0 where it has anything but digits.
func digits(text string) (n int) {
	for i := range len(text) {
		c := text[i] - '0'
		if c > 9 {
			return -1
		}
		n = n*10 + int(c)
	}
	return n
}

// IsZero reports whether t is none.
func (t Time) IsZero() bool { return t == Time{} }

// Time returns t in UTC.
func (t Time) Time() time.Time { return time.UnixMilli(t.milli).UTC() }

// After reports whether t, at its second's end where it has whole seconds, lies after moment.
func (t Time) After(moment time.Time) bool {
	end := t.milli
	if t.seconds {
		end += 999
	}
	return end > moment.UnixMilli()
}

// AppendTable appends t in the form of the tables, 2006-01-02T15:04:05.000+00:00; whole seconds stay whole.
func (t Time) AppendTable(dst []byte) []byte {
	if t.seconds {
		return t.Time().AppendFormat(dst, "2006-01-02T15:04:05-07:00")
	}
	return append(t.appendMilli(dst), "+00:00"...)
}

func (t Time) appendMilli(dst []byte) []byte {
	u := t.Time()
	year, month, day := u.Date()
	hour, minute, second := u.Clock()
	digits := func(n, width int) {
		for unit := [...]int{1, 10, 100, 1000}[width-1]; unit > 0; unit /= 10 {
			dst = append(dst, '0'+byte(n/unit%10))
		}
	}
	digits(year, 4)
	dst = append(dst, '-')
	digits(int(month), 2)
	dst = append(dst, '-')
	digits(day, 2)
	dst = append(dst, 'T')
	digits(hour, 2)
	dst = append(dst, ':')
	digits(minute, 2)
	dst = append(dst, ':')
	digits(second, 2)
	dst = append(dst, '.')
	digits(u.Nanosecond()/1e6, 3)
	return dst
}

// String returns t in the form of the wire, 2006-01-02T15:04:05.000Z; "" for none.
func (t Time) String() string {
	if t.IsZero() {
		return ""
	}
	return string(t.appendWire(nil))
}

func (t Time) appendWire(dst []byte) []byte { return append(t.appendMilli(dst), 'Z') }

// MarshalText returns t in the form of the wire.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText is ParseTime.
func (t *Time) UnmarshalText(text []byte) (err error) {
	*t, err = ParseTime(string(text))
	return err
}
