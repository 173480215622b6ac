package rehearsal

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// Paced is a clock that runs a number of times as fast as its base, as long as those
// who follow it keep up: while they are at work it runs no faster than its base, or on
// a machine that is busy with other things certificates would end before those who
// renew them had their turn.
type Paced struct {
	speed float64

	mu      sync.Mutex
	now     time.Time
	waiting map[*waiter]bool
	busy    []func(time.Time) bool
}

// A tick is how often the clock moves, by its base; longestTick the most that counts
// of one that came late; longestStep the most that the clock moves at once, however
// fast it is to run.
const (
	tick        = time.Millisecond
	longestTick = 4 * tick
	longestStep = time.Second
)

// NewPaced stands at start until Run.
func NewPaced(start time.Time, speed float64) *Paced {
	return &Paced{speed: speed, now: start, waiting: map[*waiter]bool{}}
}

// Now is where the clock stands.
func (p *Paced) Now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// After waits for d of this clock's time.
func (p *Paced) After(d time.Duration) <-chan time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := &waiter{at: p.now.Add(d), c: make(chan time.Time, 1)}
	if d <= 0 {
		w.c <- p.now
	} else {
		p.waiting[w] = true
	}
	return w.c
}

// Follow has the clock ask, before it moves, whether somebody is still at work at what
// was due by then.
func (p *Paced) Follow(busy func(now time.Time) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy = append(p.busy, busy)
}

// pace is how fast the clock may run now.
func (p *Paced) pace() float64 {
	p.mu.Lock()
	now, busy := p.now, p.busy
	p.mu.Unlock()
	for _, at := range busy {
		if at(now) {
			return min(p.speed, 1)
		}
	}
	return p.speed
}

// Run moves the clock until ctx ends.
func (p *Paced) Run(ctx context.Context, base Clock) {
	last := base.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-base.After(tick):
		}
		now := base.Now()
		p.move(min(time.Duration(float64(min(now.Sub(last), longestTick))*p.pace()), longestStep))
		last = now
		// Behind all that can run now: nobody is left behind by more than a tick each time.
		runtime.Gosched()
	}
}

func (p *Paced) move(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = p.now.Add(d)
	for w := range p.waiting {
		if !w.at.After(p.now) {
			w.c <- p.now
			delete(p.waiting, w)
		}
	}
}
