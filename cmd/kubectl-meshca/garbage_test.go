package main

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// TestCollectLater: after the first collection the others come as the runtime has them.
func TestCollectLater(t *testing.T) {
	t.Setenv("GOGC", "")
	usual := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(usual) })
	percent := func() int {
		now := debug.SetGCPercent(100)
		debug.SetGCPercent(now)
		return now
	}
	collectLater()
	if got := percent(); got != firstCollection {
		t.Fatalf("before the first collection: %d", got)
	}
	for end := time.Now().Add(10 * time.Second); percent() != 100; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("collections stay late after the first")
		}
		runtime.GC()
	}
}

func TestCollectLaterNotWhereItIsSet(t *testing.T) {
	t.Setenv("GOGC", "100")
	usual := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(usual) })
	collectLater()
	if got := debug.SetGCPercent(100); got != 100 {
		t.Fatalf("GOGC=100 was set, and it is %d", got)
	}
}
