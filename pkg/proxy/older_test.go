package proxy_test

import (
	"fmt"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"pgregory.net/rapid"
)

// TestG18_OlderConnections: whatever opens and closes, the true number of older
// connections lies within the bounds, for endpoints that live through it.
func TestG18_OlderConnections(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var then, now []proxy.Upstream
		var truth, lost uint64
		for n := range rapid.IntRange(0, 4).Draw(t, "endpoints") {
			name := fmt.Sprint("10.0.0.", n)
			open := rapid.Uint64Range(0, 5).Draw(t, "open then")
			total := open + rapid.Uint64Range(0, 9).Draw(t, "closed before")
			then = append(then, proxy.Upstream{Cluster: "c", Endpoint: name, Connections: total, Active: open})
			old := rapid.Uint64Range(0, open).Draw(t, "of these open still")
			made := rapid.Uint64Range(0, 5).Draw(t, "made since")
			young := rapid.Uint64Range(0, made).Draw(t, "of these open")
			if rapid.IntRange(0, 5).Draw(t, "it goes") == 0 {
				lost += open
				continue
			}
			truth += old
			now = append(now, proxy.Upstream{Cluster: "c", Endpoint: name, Connections: total + made, Active: old + young})
		}
		if rapid.Bool().Draw(t, "another endpoint") {
			now = append(now, proxy.Upstream{Cluster: "c", Endpoint: "10.0.1.1", Connections: 7, Active: 3})
		}
		o := proxy.OlderThan(then, now)
		if truth < o.AtLeast || truth > o.AtMost {
			t.Fatalf("%d are older, said to be %d to %d", truth, o.AtLeast, o.AtMost)
		}
		if o.Unseen != lost {
			t.Fatalf("%d are unseen, said to be %d", lost, o.Unseen)
		}
		if o.None() && truth > 0 {
			t.Fatal("none, it says")
		}
	})
}

// TestG18_CountersThatWentBack: another Envoy, or an endpoint that went and came
// again: nothing is certain of it.
func TestG18_CountersThatWentBack(t *testing.T) {
	then := []proxy.Upstream{{Cluster: "c", Endpoint: "e", Connections: 100, Active: 2}}
	o := proxy.OlderThan(then, []proxy.Upstream{{Cluster: "c", Endpoint: "e", Connections: 5, Active: 4}})
	if o.AtLeast != 0 || o.AtMost != 4 {
		t.Errorf("%+v", o)
	}
	if o := proxy.OlderThan(then, []proxy.Upstream{{Cluster: "c", Endpoint: "e", Connections: 100, Active: 2}}); o.AtLeast != 2 || o.AtMost != 2 {
		t.Errorf("nothing was made since: %+v", o)
	}
}
