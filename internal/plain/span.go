package plain

import (
	"strings"
	"time"
)

// Span is a duration in its largest units, as one would say it: 90 days, 36h, 12h30m, 4m.
// From two days on it is whole days, rounded down.
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= 2*day {
		return Count(int(d/day), "day")
	}
	s := d.Round(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
