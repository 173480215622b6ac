package rotation

import "time"

// clusterClock is a clock as the API server's runs: marks that controllers, pods and
// other runs are told apart by are in its time, however this machine's is set.
type clusterClock struct {
	Clock
	skew time.Duration // how far the Clock is ahead
}

func (c clusterClock) Now() time.Time { return c.Clock.Now().Add(-c.skew) }

// cluster is the clock of the cluster, by the last look at it.
func (r *run) cluster() clusterClock { return clusterClock{r.Clock, r.skew} }
