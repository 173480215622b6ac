package scenario_test

import (
	"flag"
	"runtime/debug"
	"testing"
)

// TestMain takes -update, which writes what docs show of the table.
func TestMain(m *testing.M) {
	flag.Bool("update", false, "write the tables in docs instead of comparing them")
	debug.SetGCPercent(400) // the table makes much that lives for a moment
	m.Run()
}
