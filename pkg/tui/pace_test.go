package tui

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// frames counts what is written to a screen, and knows whether a word has been.
type frames struct {
	mu   sync.Mutex
	n    int
	text strings.Builder
}

func (f *frames) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	return f.text.Write(p)
}

func (f *frames) count() int { f.mu.Lock(); defer f.mu.Unlock(); return f.n }

// await waits until something is drawn; how long that takes is the machine's.
func (f *frames) await(t *testing.T, text string) {
	t.Helper()
	for range 6000 {
		f.mu.Lock()
		drawn := strings.Contains(f.text.String(), text)
		f.mu.Unlock()
		if drawn {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%q is never drawn", text)
}

// TestFramesPerSecond: however much there is to tell, a slow line gets ten frames a
// second at most; where nothing changes it gets none. A slow machine draws fewer.
func TestFramesPerSecond(t *testing.T) {
	ctx, leave := context.WithCancel(context.Background())
	out, said, left := &frames{}, make(chan string), make(chan struct{})
	go func() {
		defer close(left)
		_, _ = Run(ctx, Options{Backend: scripted{seen: fixture(10000)}, In: strings.NewReader(""), Out: out, Now: noon, Said: said})
	}()
	defer func() { leave(); <-left }()
	out.await(t, "1 error, 1 warning")
	before, began, told := out.count(), time.Now(), 0
	for ; out.count()-before < 2*framesPerSecond && time.Since(began) < time.Minute; told++ {
		said <- fmt.Sprintf("line-%d", told)
		time.Sleep(time.Millisecond)
	}
	n := out.count() - before
	if most := int(time.Since(began).Seconds()*framesPerSecond) + 2; n > most || n >= told {
		t.Errorf("%d frames of %d lines in %s: at most %d", n, told, time.Since(began), most)
	}
	said <- "silence"
	out.await(t, "silence")
	before = out.count()
	time.Sleep(5 * time.Second / framesPerSecond)
	if n := out.count() - before; n > 0 {
		t.Errorf("nothing changes, and %d frames are drawn", n)
	}
}
