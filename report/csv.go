package report

import (
	"bufio"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// mediaType is the type of tables that are saved as files, with column names in their first line.
const mediaType = "text/csv; charset=utf-8; header=present"

// sheet writes a table as CSV (RFC 4180), a row at a time. Text is always quoted, so that no other separator divides it, and begins
// with an apostrophe where a spreadsheet would take it for a formula (OWASP ASVS 1.2.10). Numbers are written as they are.
type sheet struct {
	w    *bufio.Writer
	line []byte
	err  error // the first one; nothing is written after it
}

func newSheet(w io.Writer) *sheet { return &sheet{w: bufio.NewWriterSize(w, 16<<10)} }

// row writes one row of text and int64.
func (s *sheet) row(cells ...any) {
	if s.err != nil {
		return
	}
	s.line = s.line[:0]
	for i, cell := range cells {
		if i > 0 {
			s.line = append(s.line, ',')
		}
		switch cell := cell.(type) {
		case int64:
			s.line = strconv.AppendInt(s.line, cell, 10)
		case string:
			s.line = append(s.line, '"')
			s.line = append(s.line, strings.ReplaceAll(harmless(cell), `"`, `""`)...)
			s.line = append(s.line, '"')
		}
	}
	_, s.err = s.w.Write(append(s.line, '\r', '\n'))
}

// end writes what is left, and returns what went wrong.
func (s *sheet) end() error {
	if s.err != nil {
		return s.err
	}
	return s.w.Flush()
}

// number is text that a spreadsheet reads as a number and nothing else.
var number = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)

// triggers begin what spreadsheets take for a formula or a command, in all the widths and forms that are read as one.
const triggers = "=+-@|%＝＋－＠｜％﹦﹢﹣﹫﹪⁼⁺⁻₌₊₋−"

// harmless returns text as a cell that stays text. What comes before a trigger and can't be seen is trimmed by some readers.
func harmless(text string) string {
	first, _ := utf8.DecodeRuneInString(text)
	if text == "" || number.MatchString(text) {
		return text
	}
	seen := strings.TrimLeftFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == utf8.RuneError })
	begins, _ := utf8.DecodeRuneInString(seen)
	if unicode.IsControl(first) || strings.ContainsRune(triggers, begins) {
		return "'" + text
	}
	return text
}
