package settings

import (
	"testing"
	"time"
)

// A sort key and what it names stand for each other: no two settings share a key.
func FuzzMasterKeys(f *testing.F) {
	for _, seed := range [][3]string{{"tenant", "", "tax"}, {"group", "sales#eu", "tax"}, {"group", "USER#ann", "a"}, {"user", "a b@9", "税率"}, {"group", "#", "GROUP"}, {"user", "GROUP", "USER"}} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, level, owner, code string) {
		r := Ref{Level: Level(level), Code: code}
		switch r.Level {
		case LevelGroup:
			r.GroupID = owner
		case LevelUser:
			r.UserID = owner
		}
		if r.Level != LevelCommon && r.check() == nil {
			if got, ok := parseSK(r.sk()); !ok || got != r {
				t.Errorf("%+v is stored at %q, which names %+v", r, r.sk(), got)
			}
		}
		for _, sk := range []string{code, plainPrefix + code, groupPrefix + code, userPrefix + owner + "#" + code} {
			if got, ok := parseSK(sk); ok && got.sk() != sk {
				t.Errorf("%q names %+v, which is stored at %q", sk, got, got.sk())
			}
		}
	})
}

// A date format that is taken formats, and tells days apart.
func FuzzDateFormats(f *testing.F) {
	for _, seed := range []string{"YYYY-MM-DD", "D. MMMM YYYY", "YYYY年M月D日", "YY/M/D", "DDMMMYY", "%d", "YYYY-MM-DD hh"} {
		f.Add(seed)
	}
	day := time.Date(2026, 11, 12, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, format string) {
		s := Defaults()
		s.DateFormat = format
		text, err := s.FormatDate(day)
		if (err == nil) != (len(s.Validate()) == 0) {
			t.Fatalf("%q is checked otherwise than used: %v, %v", format, err, s.Validate())
		}
		for _, other := range []time.Time{day.AddDate(0, 0, 1), day.AddDate(0, -1, 0), day.AddDate(-1, 0, 0)} {
			if again, _ := s.FormatDate(other); err == nil && again == text {
				t.Errorf("%q writes %v and %v as %q", format, day, other, text)
			}
		}
	})
}
