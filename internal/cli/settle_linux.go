package cli

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// forgetProgram unmaps the pages of the program's own file that starting touched; those that serving needs come back by themselves,
// from memory. The kernel maps 16 pages for each that is touched, so they are most of what an idle server would be seen to hold. A part that
// was written to, as relocation does, stays. It does its best: nothing depends on it.
func forgetProgram() {
	program, err := os.Executable()
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer maps.Close()
	var from, to uintptr // of a part of the program that can only be read; 0 elsewhere
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) > 1 && strings.Contains(fields[0], "-"):
			var start, end uintptr
			_, err := fmt.Sscanf(fields[0], "%x-%x", &start, &end)
			from, to = 0, 0
			if err == nil && fields[len(fields)-1] == program && !strings.Contains(fields[1], "w") {
				from, to = start, end
			}
		case from > 0 && len(fields) > 1 && fields[0] == "Anonymous:" && fields[1] == "0":
			syscall.Syscall(syscall.SYS_MADVISE, from, to-from, syscall.MADV_DONTNEED)
		}
	}
}
