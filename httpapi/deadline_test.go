package httpapi

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type key struct{}

// A deadline ends as what context.WithDeadline makes: asked or waited for, by the clock, by its end and by its parent's, before
// and after somebody waits, and so do contexts made of it.
func TestDeadline(t *testing.T) {
	for name, wait := range map[string]func(*deadline){
		"asked":            func(*deadline) {},
		"waited for":       func(d *deadline) { d.Done() },
		"waited for twice": func(d *deadline) { d.Done(); d.Done() },
	} {
		for why, c := range map[string]struct {
			come func(d *deadline, parent context.CancelFunc)
			want error
		}{
			"time":   {func(*deadline, context.CancelFunc) { <-time.After(time.Minute) }, context.DeadlineExceeded},
			"end":    {func(d *deadline, _ context.CancelFunc) { d.end(); d.end() }, context.Canceled},
			"parent": {func(_ *deadline, cancel context.CancelFunc) { cancel() }, context.Canceled},
		} {
			t.Run(name+", "+why, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
					defer cancel()
					d := &deadline{Context: parent, at: time.Now().Add(time.Minute)}
					defer d.end()
					wait(d)
					var child context.Context = d
					if name != "asked" { // to make one is to wait
						made, stop := context.WithCancel(d)
						defer stop()
						child = made
					}
					<-time.After(time.Minute - 1)
					if at, ok := d.Deadline(); d.Err() != nil || child.Err() != nil || !ok || time.Until(at) != 1 || d.Value(key{}) != "value" {
						t.Errorf("before it came: %v, %v, %v %v, %v", d.Err(), child.Err(), at, ok, d.Value(key{}))
					}
					c.come(d, cancel)
					synctest.Wait()
					if !errors.Is(d.Err(), c.want) || !errors.Is(child.Err(), c.want) || d.Value(key{}) != "value" {
						t.Errorf("it ended with %v, its child with %v, want %v; its value is %v", d.Err(), child.Err(), c.want, d.Value(key{}))
					}
					<-d.Done()
					<-child.Done()
				})
			})
		}
	}
}

func TestDeadlineOfManyWaiters(t *testing.T) {
	d := &deadline{Context: t.Context(), at: time.Now().Add(time.Hour)}
	var waiting sync.WaitGroup
	for range 20 {
		waiting.Go(func() { <-d.Done() })
	}
	waiting.Go(d.end)
	waiting.Wait()
}
