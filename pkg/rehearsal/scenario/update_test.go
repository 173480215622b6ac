package scenario_test

import (
	"flag"
	"os"
	"testing"
)

// TestMain takes -update, which writes what docs show of the table.
func TestMain(m *testing.M) {
	flag.Bool("update", false, "write the tables in docs instead of comparing them")
	os.Exit(m.Run())
}
