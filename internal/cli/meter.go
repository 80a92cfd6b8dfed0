package cli

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/vbauerster/cupwriter"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/tenantry/tenantry/transfer"
)

// newMeter returns what tells the operator how far a copy is, and what ends that: bars where w is a terminal that nobody parses, else lines.
func newMeter(w io.Writer, plain bool) (tell func(transfer.Progress), end func()) {
	if console := cupwriter.New(w, false); console.IsTerminal() && !plain {
		return bars(console)
	}
	return lines(w), func() {}
}

// tellEvery is the time between two lines of progress.
const tellEvery = 2 * time.Second

// lines tells in a line for each phase, and now and then.
func lines(w io.Writer) func(transfer.Progress) {
	var phase transfer.Phase
	var told time.Time
	return func(p transfer.Progress) {
		if p.Phase == phase && time.Since(told) < tellEvery {
			return
		}
		phase, told = p.Phase, time.Now()
		fmt.Fprintf(w, "%s: %d commands\n", p.Phase, p.Commands)
	}
}

// full is what a bar counts to.
const full = 1000

// bars has a bar for each phase. End leaves the last one where it came to.
func bars(console mpb.ConsoleWriter) (tell func(transfer.Progress), end func()) {
	container := mpb.New(mpb.WithConsoleWriter(console))
	var phase transfer.Phase
	var bar *mpb.Bar
	var commands atomic.Int64
	tell = func(p transfer.Progress) {
		commands.Store(p.Commands)
		if p.Phase != phase {
			if bar != nil {
				bar.SetCurrent(full)
				bar = nil
			}
			if phase = p.Phase; phase == transfer.Done {
				return
			}
			bar = container.AddBar(full,
				mpb.PrependDecorators(decor.Name(string(phase), decor.WC{W: 10, C: decor.DindentRight})),
				mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5}), decor.Any(func(decor.Statistics) string { return fmt.Sprintf("  %d commands", commands.Load()) })))
		}
		bar.SetCurrent(min(int64(full*p.Share), full-1)) // it is full when the phase ends
	}
	return tell, func() {
		if bar != nil {
			bar.Abort(false)
		}
		container.Wait()
	}
}
