package traffic

import "fmt"

// Baseline are the sums of what was counted before Change, over endpoints that lived
// through it.
func (w *Watch) Baseline() (all Counters) {
	for _, pairs := range w.pairs {
		for _, one := range pairs {
			all.add(one.before)
		}
	}
	return all
}

// Rose says what fails more often here than in an earlier count, "" where nothing does.
func (c Counters) Rose(before Counters) string {
	for _, one := range []struct {
		what     string
		now, was odds
	}{
		{"connections", odds{c.ConnectFail, c.attempts()}, odds{before.ConnectFail, before.attempts()}},
		{"requests", odds{c.Errors, c.asked()}, odds{before.Errors, before.asked()}},
	} {
		if rose(one.now, one.was, chance) {
			return fmt.Sprintf("%d of %d %s fail, and of %d before the first write %d did", one.now.failed, one.now.of, one.what, one.was.of, one.was.failed)
		}
	}
	return ""
}
