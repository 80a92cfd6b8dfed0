package changelog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/fault"
)

var modules = []string{"order", "product", "tenant"}

// writeAll has writers make versions, from the first to the last, of records of their own, in all modules.
func (s *store) writeAll(writers, records int, first, last int64) {
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for v := first; v <= last; v++ {
				for r := range records {
					s.put(modules[(w+r)%len(modules)], fmt.Sprintf("A#t%d", w%4), fmt.Sprintf("%d-%d", w, r), v)
				}
			}
		})
	}
	writing.Wait()
}

func TestOneOrderForAllReaders(t *testing.T) {
	s := newStore(t, modules...)
	for _, owner := range []string{"a", "b", "c"} {
		s.run(s.log(owner))
	}
	reader, other := s.log("reader"), s.log("other")
	s.advanced(reader) // somebody sequences before much is written
	const writers, records, each = 16, 3, 12
	done, begun := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		s.writeAll(writers, records, 1, each/2)
		<-begun // what follows is written while it is read
		s.writeAll(writers, records, each/2+1, each)
	}()
	var seen []Entry // as one follows
	for writing := true; writing; {
		select {
		case <-done:
			writing = false
		default:
		}
		page, err := reader.Read(t.Context(), uint64(len(seen)), 7)
		if err != nil {
			t.Fatal(err)
		}
		if len(seen) == 0 && len(page) > 0 {
			close(begun)
		}
		seen = append(seen, page...)
	}
	all := s.advanced(other)
	got := s.versions(all)
	if len(got) != writers*records || len(all) != writers*records*each {
		t.Errorf("the log has %d versions of %d records, want %d of %d", len(all), len(got), writers*records*each, writers*records)
	}
	if diff := cmp.Diff(all[:len(seen)], seen); diff != "" {
		t.Errorf("who followed the log saw another one (-later +then):\n%s", diff)
	}
	if diff := cmp.Diff(all, s.advanced(reader)); diff != "" {
		t.Errorf("two readers see two logs:\n%s", diff)
	}
}

func TestReadPages(t *testing.T) {
	s := newStore(t, modules...)
	s.writeAll(1, 3, 1, 150) // more than a block for each
	s.run(s.log("a"))
	l := s.log("reader")
	all := s.advanced(l)
	if end, err := l.End(t.Context()); err != nil || end != 450 || len(all) != 450 {
		t.Fatalf("the end is %d (%v), with %d entries, want 450", end, err, len(all))
	}
	for _, after := range []uint64{0, 1, 98, 99, 100, 101, 299, 449, 450, 900} {
		for _, limit := range []int{1, 2, 99, 100, 101, 1000} {
			got, err := l.Read(t.Context(), after, limit)
			from := min(int(after), len(all))
			want := all[from:min(from+limit, len(all))]
			if err != nil || len(got) != len(want) || len(got) > 0 && !cmp.Equal(got, want) {
				t.Errorf("%d after %d: got %d entries (%v), want %d", limit, after, len(got), err, len(want))
			}
		}
	}
}

func TestWhatCounts(t *testing.T) {
	s := newStore(t, modules...)
	s.run(s.log("a"))
	s.put("order", "A#acme", "1", 1)
	s.put("order", "A#acme", "1", 1) // a repair
	s.put("order", "A#acme", "1", 2)
	put := func(it item) {
		if _, err := s.db.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(s.table("order")), Item: it}); err != nil {
			t.Fatal(err)
		}
	}
	put(item{"pk": text("MASTER#acme"), "sk": text("x")}) // no version: no record
	put(item{"pk": text("MASTER#acme"), "sk": text("y"), "version": text("1")})
	s.put("order", "A#acme", "2", 1)
	if _, err := s.db.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: aws.String(s.table("order")), Key: key("A#acme", "2")}); err != nil {
		t.Fatal(err)
	}
	want := []Entry{{1, "A#acme", "1", 1}, {2, "A#acme", "1", 2}, {3, "A#acme", "2", 1}}
	if diff := cmp.Diff(want, s.advanced(s.log("reader"))); diff != "" {
		t.Error(diff)
	}
	s.put("order", "A#acme", "2", 1) // once more, after it was gone
	if diff := cmp.Diff(append(want, Entry{4, "A#acme", "2", 1}), s.advanced(s.log("reader"))); diff != "" {
		t.Error(diff)
	}
}

func TestTablesThatCome(t *testing.T) {
	s := newStore(t)
	s.run(s.log("a"))
	l := s.log("reader")
	s.advanced(l)
	for i, m := range modules {
		s.addTable(m)
		s.put(m, "A#acme", fmt.Sprint(i), 1)
		s.put(m, "A#acme", fmt.Sprint(i), 2)
	}
	s.eventually("the versions in new tables", func() bool {
		return cmp.Equal(s.versions(s.advanced(l)), map[string]int64{"A#acme/0": 2, "A#acme/1": 2, "A#acme/2": 2})
	})
}

// A table that had records before its stream: some change while it is scanned, others never do.
func TestBootstrapUnderWrites(t *testing.T) {
	s := newStore(t)
	s.create(s.table("order"), "")
	const old = 250
	for r := range old {
		s.put("order", "A#old", fmt.Sprint(r), 3)
	}
	if _, err := s.db.UpdateTable(t.Context(), &dynamodb.UpdateTableInput{TableName: aws.String(s.table("order")),
		StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages}}); err != nil {
		t.Fatal(err)
	}
	s.list("order")
	stop := s.run(s.log("a"))
	var writing sync.WaitGroup
	for w := range 8 {
		writing.Go(func() {
			for v := int64(4); v <= 8; v++ {
				for r := w; r < old/2; r += 8 {
					s.put("order", "A#old", fmt.Sprint(r), v)
				}
			}
		})
	}
	l := s.log("reader")
	s.advanced(l)
	stop() // in the midst of it, mostly
	s.run(s.log("b"))
	writing.Wait()
	s.eventually("every record's newest version", func() bool {
		newest := map[string]int64{}
		for i, e := range s.advanced(l) {
			if e.Number != uint64(i)+1 || e.Version <= newest[e.SK] {
				t.Fatalf("entry %d is version %d of %s, after version %d", e.Number, e.Version, e.SK, newest[e.SK])
			}
			newest[e.SK] = e.Version
		}
		for r := range old {
			want := int64(3)
			if r < old/2 {
				want = 8
			}
			if newest[fmt.Sprint(r)] != want {
				return false
			}
		}
		return true
	})
}

func TestTableWithoutStream(t *testing.T) {
	s := newStore(t, modules...)
	s.create(s.table("bare"), "")
	s.run(s.log("a"))
	l := s.log("reader")
	if _, err := l.Follow(follows(t, l), 0, 10); err != nil {
		t.Fatalf("before there is a table without a stream: %v", err)
	}
	s.list("bare")
	s.eventually("a table without a stream is noticed", func() bool {
		_, err := l.Follow(t.Context(), 0, 10)
		return errors.Is(err, fault.Unavailable)
	})
	s.put("order", "A#acme", "1", 1)
	s.eventually("other tables go on", func() bool {
		end, err := l.End(t.Context())
		return err == nil && end == 1
	})
}

// follows waits until l can follow.
func follows(t *testing.T, l *Log) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	if _, err := l.Advance(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx
}

func TestFollow(t *testing.T) {
	s := newStore(t, modules...)
	l := s.log("reader")
	if _, err := l.Follow(t.Context(), 0, 10); !errors.Is(err, fault.Unavailable) {
		t.Fatalf("with no sequencer: %v", err)
	}
	if end, err := l.End(t.Context()); end != 0 || err != nil {
		t.Fatalf("the end with no sequencer: %d, %v", end, err)
	}
	stop := s.run(s.log("a"))
	ctx := follows(t, l)
	for v := int64(1); v <= 20; v++ {
		s.put("order", "A#acme", "1", v)
		s.eventually("a change that Follow lacked", func() bool {
			got, err := l.Follow(ctx, uint64(v)-1, 10)
			if err != nil {
				t.Fatal(err)
			}
			return len(got) == 1 && got[0].Version == v
		})
	}
	stop()
	s.put("order", "A#acme", "1", 21)
	began, err := time.Now(), error(nil)
	for err == nil { // what is still true of the moments before
		var got []Entry
		if got, err = l.Follow(ctx, 0, 100); err == nil && len(got) != 20 {
			t.Fatalf("got %d entries of a log that stands still", len(got))
		}
	}
	if took := time.Since(began); !errors.Is(err, fault.Unavailable) || took > tolerated+3*patience { // a busy machine gets more than it needs
		t.Errorf("%v after the sequencer ended: %v", took, err)
	}
	if got, err := l.Follow(ctx, 0, 5); err != nil || len(got) != 5 {
		t.Errorf("a full page: %d, %v", len(got), err)
	}
	if got, err := l.Read(ctx, 0, 100); err != nil || len(got) != 20 {
		t.Errorf("Read: %d, %v", len(got), err)
	}
}

// What a round proves is what was looked at before it began.
func TestBelatedMarkProvesNothing(t *testing.T) {
	l := New(Config{})
	at := func(ms int, began uint64) {
		l.looks = append(l.looks, look{time.Duration(ms) * time.Millisecond, began})
	}
	at(100, 6)
	at(200, 7) // round 7 has begun, and is paused
	at(2000, 7)
	if got, known := l.covered(7); !known || got != 100*time.Millisecond {
		t.Errorf("round 7, done after a pause, proves %v %v, want 100ms", got, known)
	}
	if got, known := l.covered(8); !known || got != 2000*time.Millisecond {
		t.Errorf("round 8 proves %v %v, want 2s", got, known)
	}
	if _, known := l.covered(6); known {
		t.Error("a round that was begun before the first look proves nothing")
	}
}
