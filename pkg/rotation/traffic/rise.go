package traffic

import "math"

// chance is how likely a false alarm may be, over all endpoints of one judgement.
const chance = 1e-3

// odds of a rise that the share from before explains.
type odds struct{ failed, of uint64 }

// rose reports whether failures have become more than the share from before the
// change explains, with this chance of a false alarm. Where nothing is known from
// before, none is expected. One failure alone is no rise: what is broken is tried
// again, and fails again.
func rose(now, before odds, chance float64) bool {
	return now.failed >= 2 && unlikely(now, before, chance)
}

func unlikely(now, before odds, chance float64) bool {
	if now.failed == 0 {
		return false
	}
	share := 0.0
	if before.of > 0 && before.failed > 0 {
		// Two standard deviations more than was seen: the baseline is a sample too.
		seen := float64(before.failed)
		share = min(1, (seen+2*math.Sqrt(seen))/float64(before.of))
	}
	return !atLeast(now.failed, now.of, share, chance)
}

// atLeast reports whether k or more of n come about with more than this chance,
// where each does with probability p.
func atLeast(k, n uint64, p, chance float64) bool {
	switch {
	case k > n || p <= 0:
		return k == 0
	case p >= 1 || float64(k) <= float64(n)*p:
		return true // not more than is to be expected
	}
	kf, nf := float64(k), float64(n)
	choose := func(x float64) float64 { v, _ := math.Lgamma(x + 1); return v }
	term := math.Exp(choose(nf) - choose(kf) - choose(nf-kf) + kf*math.Log(p) + (nf-kf)*math.Log1p(-p))
	sum := term
	for i := kf; i < nf && sum <= chance && term > sum*1e-12; i++ {
		term *= (nf - i) / (i + 1) * p / (1 - p)
		sum += term
	}
	return sum > chance
}
