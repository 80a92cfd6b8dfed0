package integrity

import (
	"cmp"
	"context"
	"hash/maphash"
	"maps"
	"slices"
	"strings"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// feed compares the change feed with the log in memory that doesn't grow with them. Every command falls into one of many buckets
// by its hash, which are filled from the log and emptied from the feed: one that is not empty then holds a command that the feed
// lacks or has twice, and only such buckets are looked into.
type feed struct {
	seed    maphash.Seed
	end     driver.Position // when the verification began
	buckets []bucket
	several int64 // records with several versions
}

// bucket holds the commands that the log holds and the feed doesn't, as their number and the sum of their hashes.
type bucket struct {
	sum   uint64
	count int64
	moved bool // commands came into it since the verification began
}

// Sizes of what follows the feed, in entries.
const (
	buckets = 1 << 16
	ordered = 1 << 19 // records whose order is followed at a time, 40 bytes each
)

func newFeed(end driver.Position) feed {
	return feed{seed: maphash.MakeSeed(), end: end, buckets: make([]bucket, buckets)}
}

// commandName names a command.
type commandName struct {
	pk, sk  string
	version int64
}

func (n commandName) compare(other commandName) int {
	return cmp.Or(strings.Compare(n.pk, other.pk), strings.Compare(n.sk, other.sk), cmp.Compare(n.version, other.version))
}

func nameOf(cmd *record.Record) commandName {
	return commandName{cmd.PK, cmd.SK, cmd.Version}
}

func (n commandName) ref() driver.Ref {
	return driver.Ref{Collection: driver.Command, PK: n.pk, SK: n.sk, Version: n.version}
}

// bucket returns the bucket that a command falls into, and its hash.
func (f *feed) bucket(cmd *record.Record) (*bucket, uint64) {
	h := maphash.Comparable(f.seed, nameOf(cmd))
	return &f.buckets[h%buckets], h
}

// logged takes a command from the log.
func (f *feed) logged(cmd *record.Record) {
	b, h := f.bucket(cmd)
	b.sum += h
	b.count++
	if cmd.Version == 2 {
		f.several++
	}
}

// delivered takes a command from the feed.
func (f *feed) delivered(cmd *record.Record) {
	b, h := f.bucket(cmd)
	b.sum -= h
	b.count--
}

// follow verifies the change feed as far as it went when the verification began.
func (v *verifier) follow(ctx context.Context) error {
	f := &v.feed
	if err := v.changes(ctx, f.end, "", func(cmd *record.Record) {
		b, _ := f.bucket(cmd)
		b.moved = true
	}); err != nil {
		return err
	}
	parts := uint64(f.several/ordered + 1)
	for part := range parts {
		newest := make(map[uint64]int64)
		err := v.changes(ctx, "", f.end, func(cmd *record.Record) {
			if part == 0 {
				v.total.checked[Feed]++
				f.delivered(cmd)
			}
			n := nameOf(cmd)
			if h := maphash.Comparable(f.seed, name{n.pk, n.sk}); h%parts == part {
				v.order(n, newest, h)
			}
		})
		if err != nil {
			return err
		}
	}
	return v.strays(ctx)
}

// order verifies that a command of the feed comes after the earlier versions of its record, whose hash is h. Newest holds the
// versions from 2 on: a record with one version takes no memory.
func (v *verifier) order(n commandName, newest map[uint64]int64, h uint64) {
	last := newest[h]
	if 1 <= n.version && n.version < last {
		v.total.found(Feed, n.ref(), "it comes after version %d in the feed", last)
	}
	if n.version > max(last, 1) {
		newest[h] = n.version
	}
}

// strays names the commands in the buckets that are not empty, as many as a report lists.
func (v *verifier) strays(ctx context.Context) error {
	f := &v.feed
	look := make(map[*bucket]bool)
	for i := range f.buckets {
		switch b := &f.buckets[i]; {
		case b.moved || b.sum == 0 && b.count == 0:
		case len(look) < v.total.limit:
			look[b] = true
		default:
			v.total.wrong[Feed] += max(b.count, -b.count, 1)
		}
	}
	if len(look) == 0 {
		return nil
	}
	surplus := make(map[commandName]int) // of the feed over the log
	count := func(cmd *record.Record, n int) {
		if b, _ := f.bucket(cmd); look[b] {
			surplus[nameOf(cmd)] += n
		}
	}
	if err := v.changes(ctx, "", f.end, func(cmd *record.Record) { count(cmd, +1) }); err != nil {
		return err
	}
	log := v.all(driver.Command)
	log.each = func(cmd *record.Record) { count(cmd, -1) }
	for {
		if cmd, err := log.next(ctx); err != nil {
			return err
		} else if cmd == nil {
			break
		}
	}
	if err := v.changes(ctx, f.end, "", func(cmd *record.Record) { delete(surplus, nameOf(cmd)) }); err != nil {
		return err
	}
	for _, n := range slices.SortedFunc(maps.Keys(surplus), commandName.compare) {
		switch extra := surplus[n]; {
		case extra < 0:
			v.total.found(Feed, n.ref(), "it is not in the feed")
		case extra > 0:
			v.total.found(Feed, n.ref(), "it is in the feed %d times more than in the log", extra)
		}
	}
	return nil
}

// changes calls each with the commands of the feed after a position, up to and with the one at until; "" is the end.
func (v *verifier) changes(ctx context.Context, after, until driver.Position, each func(*record.Record)) error {
	for {
		page, err := v.across.Changes(ctx, after, pageRows)
		if err != nil {
			return err
		}
		for _, c := range page {
			each(c.Command)
			if after = c.Position; after == until {
				return nil
			}
		}
		if len(page) < pageRows {
			return nil
		}
	}
}
