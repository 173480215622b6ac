package rehearsal

import (
	"context"
	"sync"
	"time"
)

// Virtual is a clock that stands still while anything is being done, and jumps to
// the next thing that is waited for when nothing is: hours take as long as the work
// in them.
type Virtual struct {
	mu      sync.Mutex
	now     time.Time
	waiting map[*waiter]bool
	workers map[*Worker]bool
	touched int // counts what shows that somebody is at work
	still   int // looks without a touch
}

type waiter struct {
	at time.Time
	by *Worker
	c  chan time.Time
}

// NewVirtual stands at start until Run.
func NewVirtual(start time.Time) *Virtual {
	return &Virtual{now: start, waiting: map[*waiter]bool{}, workers: map[*Worker]bool{}}
}

// Now is where the clock stands.
func (v *Virtual) Now() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.touched++
	return v.now
}

// After fires when the clock has jumped that far.
func (v *Virtual) After(d time.Duration) <-chan time.Time { return v.after(d, nil) }

func (v *Virtual) after(d time.Duration, by *Worker) <-chan time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.touched++
	w := &waiter{at: v.now.Add(d), by: by, c: make(chan time.Time, 1)}
	if d <= 0 {
		w.c <- v.now
		return w.c
	}
	v.waiting[w] = true
	if by != nil {
		by.waits++
	}
	return w.c
}

// Worker is the clock of somebody whose work takes none of its time: it stands still
// unless all of the worker's threads wait for it.
type Worker struct {
	clock   *Virtual
	threads int
	waits   int
}

// Worker has as many threads that wait by After.
func (v *Virtual) Worker(threads int) *Worker {
	v.mu.Lock()
	defer v.mu.Unlock()
	w := &Worker{clock: v, threads: threads}
	v.workers[w] = true
	return w
}

// Now is where the clock stands.
func (w *Worker) Now() time.Time { return w.clock.Now() }

// After fires when the clock has jumped that far.
func (w *Worker) After(d time.Duration) <-chan time.Time { return w.clock.after(d, w) }

// Done lets the clock go on without the worker.
func (w *Worker) Done() {
	w.clock.mu.Lock()
	defer w.clock.mu.Unlock()
	delete(w.clock.workers, w)
	w.clock.touched++
}

// quiet is how long nobody must have been at work before the clock jumps, and stuck
// how many times that, whoever says that he works.
const (
	quiet = time.Millisecond
	stuck = 5000
)

// Run lets the clock jump until ctx ends; base is time as it is.
func (v *Virtual) Run(ctx context.Context, base Clock) {
	seen := -1
	for {
		select {
		case <-ctx.Done():
			return
		case <-base.After(quiet):
		}
		seen = v.jump(seen)
	}
}

func (v *Virtual) works() bool {
	for w := range v.workers {
		if w.waits < w.threads {
			return true
		}
	}
	return false
}

func (v *Virtual) jump(seen int) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.touched != seen {
		v.still = 0
		return v.touched
	}
	if v.still++; v.works() && v.still < stuck || len(v.waiting) == 0 {
		return v.touched
	}
	v.still = 0
	var next time.Time
	for w := range v.waiting {
		if next.IsZero() || w.at.Before(next) {
			next = w.at
		}
	}
	v.now = next
	for w := range v.waiting {
		if !w.at.After(next) {
			w.c <- next
			delete(v.waiting, w)
			if w.by != nil {
				w.by.waits--
			}
		}
	}
	v.touched++
	return v.touched
}
