package rehearsal

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// Paced is a clock that runs a number of times as fast as its base, as long as those
// who wait for it keep up: on a machine that is busy with other things it runs slower,
// or certificates would end before those who renew them had their turn.
type Paced struct {
	speed float64

	mu      sync.Mutex
	now     time.Time
	waiting map[*waiter]bool
}

// A tick is how often the clock moves, by its base; longestTick the most that counts
// of one that came late; longestStep the most that the clock moves at once, however
// fast it is to run: a look at 40 proxies takes a hundred ticks, and must not take a
// certificate's life.
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
		p.move(min(time.Duration(float64(min(now.Sub(last), longestTick))*p.speed), longestStep))
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
