package rehearsal

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// schedule is what is still to happen, in order of time, and of asking where two
// things happen at the same time.
type schedule struct {
	clock Clock
	mu    sync.Mutex
	due   events
	asked int
	more  chan struct{}
	// working: what was due is being done.
	working bool
}

type event struct {
	at    time.Time
	asked int
	do    func()
}

func newSchedule(clock Clock) *schedule { return &schedule{clock: clock, more: make(chan struct{}, 1)} }

// after has f done when d has passed. It may be called with any lock held.
func (s *schedule) after(d time.Duration, f func()) {
	s.mu.Lock()
	s.asked++
	heap.Push(&s.due, event{at: s.clock.Now().Add(d), asked: s.asked, do: f})
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// next takes what is due at now, or says how long nothing is; forever where nothing
// is to come.
func (s *schedule) next(now time.Time) (do func(), wait time.Duration, forever bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.working = true
	if len(s.due) == 0 {
		return nil, 0, true
	}
	if wait := s.due[0].at.Sub(now); wait > 0 {
		return nil, wait, false
	}
	return heap.Pop(&s.due).(event).do, 0, false
}

// behind says that something which was due by now is not done yet.
func (s *schedule) behind(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.working || len(s.due) > 0 && !s.due[0].at.After(now)
}

func (s *schedule) rest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.working = false
}

// run does what is due until ctx ends; idle is called whenever nothing more is due
// at this moment.
func (s *schedule) run(ctx context.Context, idle func()) {
	for ctx.Err() == nil {
		do, wait, forever := s.next(s.clock.Now())
		if do != nil {
			do()
			continue
		}
		idle()
		var timer <-chan time.Time
		if !forever {
			timer = s.clock.After(wait)
		}
		s.rest()
		select {
		case <-ctx.Done():
		case <-s.more:
		case <-timer:
		}
	}
}

// events is a heap.
type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	if e[i].at.Equal(e[j].at) {
		return e[i].asked < e[j].asked
	}
	return e[i].at.Before(e[j].at)
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = event{}
	*e = (*e)[:last]
	return x
}
