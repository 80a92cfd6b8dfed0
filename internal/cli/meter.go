package cli

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/vbauerster/cupwriter"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress is how far a piece of work is.
type progress struct {
	phase string
	share float64 // of what the phase has to do that is done, 0 to 1
	text  string  // says so in numbers
	over  bool    // this is the last
}

// newMeter returns what tells the operator how far a piece of work is, and what ends that: a bar for each phase where w is a terminal that nobody parses, else
// lines.
func newMeter(w io.Writer, plain bool) (tell func(progress), end func()) {
	if console := cupwriter.New(w, false); console.IsTerminal() && !plain {
		return bars(console)
	}
	return lines(w), func() {}
}

// tellEvery is the time between two lines of progress.
const tellEvery = 2 * time.Second

// lines tells in a line for each phase, and now and then.
func lines(w io.Writer) func(progress) {
	phase := ""
	var told time.Time
	return func(p progress) {
		if p.phase == phase && time.Since(told) < tellEvery {
			return
		}
		phase, told = p.phase, time.Now()
		fmt.Fprintf(w, "%s: %s\n", p.phase, p.text)
	}
}

// full is what a bar counts to.
const full = 1000

// bars has a bar for each phase. End leaves the last one where it came to.
func bars(console mpb.ConsoleWriter) (tell func(progress), end func()) {
	container := mpb.New(mpb.WithConsoleWriter(console))
	phase := ""
	var bar *mpb.Bar
	var text atomic.Value
	tell = func(p progress) {
		text.Store(p.text)
		if p.phase != phase {
			if bar != nil {
				bar.SetCurrent(full)
				bar = nil
			}
			if phase = p.phase; p.over {
				return
			}
			bar = container.AddBar(full,
				mpb.PrependDecorators(decor.Name(phase, decor.WC{W: 10, C: decor.DindentRight})),
				mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5}), decor.Any(func(decor.Statistics) string { return fmt.Sprint("  ", text.Load()) })))
		}
		bar.SetCurrent(min(int64(full*p.share), full-1)) // it is full when the phase ends
	}
	return tell, func() {
		if bar != nil {
			bar.Abort(false)
		}
		container.Wait()
	}
}
