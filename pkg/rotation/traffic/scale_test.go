package traffic_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rotation/traffic"
)

// BenchmarkWatch: 10,000 proxies that each call 50 others, three readings a round.
func BenchmarkWatch(b *testing.B) {
	const size, each = 10000, 50
	ip := func(n int) string { return fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255) }
	reading := func(round uint64) (all []mesh.Proxy) {
		for n := range size {
			p := mesh.Proxy{Namespace: "a", Name: fmt.Sprint("p", n), UID: fmt.Sprint(n), IP: ip(n), Ready: true}
			for e := range each {
				u := calls(100*round, round, round)
				u.Cluster, u.Endpoint = cluster, ip((n+e)%size)+":80"
				p.Upstreams = append(p.Upstreams, u)
			}
			all = append(all, p)
		}
		return
	}
	first, second, third := reading(1), reading(2), reading(3)
	for b.Loop() {
		w := &traffic.Watch{}
		w.Add(epoch, first)
		w.Add(epoch.Add(time.Second), second)
		w.Change()
		w.Add(epoch.Add(2*time.Second), third)
		if v := w.Verdict(); v.Counted.Connections != 100*size*each {
			b.Fatalf("%+v", v.Counted)
		}
	}
}
