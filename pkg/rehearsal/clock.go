package rehearsal

import "time"

// Scaled is a clock that runs Speed times as fast as its base, from Start on.
type Scaled struct {
	Base  Clock
	Start time.Time // by Base
	Speed float64
}

// Now is Start and what has passed since, scaled.
func (s Scaled) Now() time.Time {
	return s.Start.Add(time.Duration(float64(s.Base.Now().Sub(s.Start)) * s.Speed))
}

// After waits for d of this clock's time.
func (s Scaled) After(d time.Duration) <-chan time.Time {
	return s.Base.After(time.Duration(float64(d) / s.Speed))
}
