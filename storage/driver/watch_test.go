package driver

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// Somebody looks while there are subscribers, and nobody else does.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looking, looked atomic.Int32
		w := NewWatch(func(ctx context.Context, notify func()) {
			notify()
			looked.Add(1)
			looking.Add(1)
			<-ctx.Done()
			looking.Add(-1)
		})
		wants := func(when string, n, begun int32) {
			t.Helper()
			synctest.Wait()
			if looking.Load() != n || looked.Load() != begun {
				t.Errorf("%s %d look and %d have begun to, want %d and %d", when, looking.Load(), looked.Load(), n, begun)
			}
		}
		received := func(signal <-chan struct{}) bool {
			select {
			case <-signal:
				return true
			default:
				return false
			}
		}
		wants("without a subscriber", 0, 0)
		one, endOne := w.Subscribe()
		two, endTwo := w.Subscribe()
		wants("with two", 1, 1)
		if !received(one) {
			t.Error("who looks has told nobody")
		}
		received(two)
		w.Notify()
		w.Notify()
		if !received(one) || received(one) || !received(two) {
			t.Error("two commits are not one signal to each subscriber who does not listen")
		}
		endOne()
		wants("with one", 1, 1)
		w.Notify()
		if received(one) || !received(two) {
			t.Error("one who has left is told, or one who has not is not")
		}
		endTwo()
		wants("when both have left", 0, 1)
		again, _ := w.Subscribe()
		wants("with another", 1, 2)
		received(again)
		w.Close()
		wants("after Close", 0, 2)
		late, end := w.Subscribe()
		w.Notify()
		if received(again) || received(late) {
			t.Error("somebody is told after Close")
		}
		end()
		wants("after Close, with one who came late,", 0, 2)
	})
}
