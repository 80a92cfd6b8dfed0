package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/client"
)

// printable returns text as a terminal may show it: what tenants wrote can't move its cursor or change its colours.
func printable(text string) string {
	safe := func(r rune) bool { return r != utf8.RuneError && unicode.IsPrint(r) }
	if !strings.ContainsFunc(text, func(r rune) bool { return !safe(r) }) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if safe(r) {
			b.WriteRune(r)
		} else {
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

// table prints rows in aligned columns. Its cells are made printable.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer) table { return table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)} }

func (t table) row(cells ...string) {
	for i, cell := range cells {
		if i > 0 {
			fmt.Fprint(t.w, "\t")
		}
		fmt.Fprint(t.w, printable(cell))
	}
	fmt.Fprintln(t.w)
}

// short is the length at which a table cuts a text, in characters.
const short = 60

func cut(text string) string {
	if utf8.RuneCountInString(text) <= short {
		return text
	}
	return string([]rune(text)[:short-1]) + "…"
}

// moment returns a time as tables show it, in UTC; "-" for none.
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

func versionText(version int64) string { return strconv.FormatInt(version, 10) }

// pages prints a listing: one page or, with all, every page.
func pages[T any](std IO, p paging, o output, print func(w io.Writer, items []T, first bool) error, page func(client.Paging) (client.Page[T], error)) error {
	next := p.client()
	for first := true; ; first = false {
		got, err := page(next)
		if err != nil {
			return err
		}
		switch {
		case o.JSON && p.All:
			err = rawItems(std.Out, got.JSON)
		case o.JSON:
			err = raw(std.Out, got.JSON)
		default:
			err = print(std.Out, got.Items, first)
		}
		if err != nil {
			return err
		}
		if got.Cursor == "" {
			return nil
		}
		if !p.All {
			if !o.JSON {
				fmt.Fprintf(std.Err, "There are more: go on with --cursor %s, or list --all.\n", got.Cursor)
			}
			return nil
		}
		next.Cursor = got.Cursor
	}
}

// raw prints an answer as it came.
func raw(w io.Writer, text jsontext.Value) error {
	_, err := fmt.Fprintf(w, "%s\n", text)
	return err
}

// rawItems prints the items of a page as they came, one on a line.
func rawItems(w io.Writer, text jsontext.Value) error {
	var page struct {
		Items []jsontext.Value `json:"items"`
	}
	if err := json.Unmarshal(text, &page); err != nil {
		return err
	}
	for _, item := range page.Items {
		if err := raw(w, item); err != nil {
			return err
		}
	}
	return nil
}

// printRecord prints one record in full, with a state unless that is "".
func printRecord(w io.Writer, rec client.Record, state string) error {
	t := newTable(w)
	t.row("id", rec.ID)
	if state != "" {
		t.row("state", state)
	}
	t.row("name", rec.Name)
	if rec.Code != rec.SK {
		t.row("code", rec.Code)
	}
	t.row("version", versionText(rec.Version))
	t.row("created", provenance(rec.CreatedAt, rec.CreatedBy, rec.CreatedIP))
	t.row("updated", provenance(rec.UpdatedAt, rec.UpdatedBy, rec.UpdatedIP))
	t.row("request", rec.RequestID)
	if rec.TTL != 0 {
		t.row("ttl", moment(time.Unix(rec.TTL, 0)))
	}
	if err := t.w.Flush(); err != nil {
		return err
	}
	if rec.Attributes == nil {
		return nil
	}
	return printJSON(w, "attributes", rec.Attributes)
}

func provenance(at time.Time, by, ip string) string {
	text := moment(at) + " by " + by
	if ip != "" {
		text += " from " + ip
	}
	return text
}

// printJSON prints a JSON value under a name, indented.
func printJSON(w io.Writer, name string, v jsontext.Value) error {
	v = v.Clone()
	if err := v.Indent(jsontext.WithIndent("  ")); err != nil {
		return err
	}
	fmt.Fprintf(w, "%s ", name)
	for line := range strings.Lines(string(v)) {
		if _, err := fmt.Fprintln(w, printable(strings.TrimSuffix(line, "\n"))); err != nil {
			return err
		}
	}
	return nil
}

// printRevisions prints changes of a record: who and when, and then field by field what.
func printRevisions(w io.Writer, revs []client.Revision, _ bool) error {
	for _, rev := range revs {
		if err := printRevision(w, rev); err != nil {
			return err
		}
	}
	return nil
}

func printRevision(w io.Writer, rev client.Revision) error {
	fmt.Fprintf(w, "version %d  %s\n", rev.Version, printable(provenance(rev.UpdatedAt, rev.UpdatedBy, rev.UpdatedIP)))
	fmt.Fprintf(w, "  %s, request %s\n", printable(rev.Source), printable(rev.RequestID))
	t := newTable(w)
	for _, d := range rev.Changes {
		switch {
		case d.From == nil:
			t.row("  + "+d.Field, string(d.To))
		case d.To == nil:
			t.row("  - "+d.Field, string(d.From))
		default:
			t.row("  ~ "+d.Field, string(d.From)+" -> "+string(d.To))
		}
	}
	return t.w.Flush()
}
