package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

// firstCollection is how far the heap may grow before the first collection of garbage, in
// hundredths of the runtime's 4 MiB: to 32 MiB, which no reading of a few proxies comes to.
const firstCollection = 800

// collectLater puts the first collection off, and has all others come as they do
// otherwise: a fifth of the CPU of a command that ends within a tenth of a second was
// spent on garbage that its end frees. Whoever sets GOGC has what was set.
func collectLater() {
	if os.Getenv("GOGC") != "" {
		return
	}
	usual := debug.SetGCPercent(firstCollection)
	runtime.AddCleanup(new([16]byte), func(percent int) { debug.SetGCPercent(percent) }, usual)
}
