package rehearsal

import (
	"os"
	"runtime/debug"
)

// spacious is how much memory this process may take, in bytes, before what a mesh has
// left behind is collected more eagerly than Go would by itself. One of 10,000 proxies
// is about 300 MiB, and while all of them are read leaves a gigabyte behind.
const spacious = 900 << 20

// Lean bounds the memory of this process, softly, until it is taken back: unless its
// operator has (GOMEMLIMIT).
func Lean() (back func()) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	before := debug.SetMemoryLimit(spacious)
	return func() { debug.SetMemoryLimit(before) }
}
