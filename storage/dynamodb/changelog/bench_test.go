package changelog

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"
)

// BenchmarkBacklog sequences what was committed while no process did.
func BenchmarkBacklog(b *testing.B) {
	s := newStore(b, modules...)
	var writing sync.WaitGroup
	for w := range 8 {
		writing.Go(func() {
			for n := w; n < b.N; n += 8 {
				s.put(modules[n%3], fmt.Sprintf("A#t%d", n%10), fmt.Sprint(n), 1)
			}
		})
	}
	writing.Wait()
	c := s.config("a", http.DefaultClient)
	c.Poll = 0
	l := New(c)
	b.ResetTimer()
	s.run(l)
	s.eventually("all", func() bool {
		end, err := l.End(b.Context())
		return err == nil && end >= uint64(b.N)
	})
}

// BenchmarkBehind is the time from a commit to the moment when another process can read it, with the pace that DynamoDB allows.
func BenchmarkBehind(b *testing.B) {
	for _, c := range []struct {
		name string
		poke bool
	}{{"committed by the sequencer's process", true}, {"by another", false}} {
		b.Run(c.name, func(b *testing.B) {
			s := newStore(b, "order")
			cfg := s.config("a", http.DefaultClient)
			cfg.Poll = 0
			l := New(cfg)
			s.run(l)
			reader := s.log("reader")
			s.advanced(reader)
			b.ResetTimer()
			for n := range b.N {
				b.StopTimer()
				<-time.After(time.Duration(300+n*37%200) * time.Millisecond) // anywhere in the sequencer's pace
				b.StartTimer()
				s.put("order", "A#acme", "1", int64(n)+1)
				if c.poke {
					l.Poke()
				}
				s.eventually("the version", func() bool {
					end, err := reader.End(b.Context())
					return err == nil && end == uint64(n)+1
				})
			}
		})
	}
}
