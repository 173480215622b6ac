package mesh_test

import (
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"pgregory.net/rapid"
)

func TestRenewsWithin(t *testing.T) {
	for name, test := range map[string]struct {
		proxy mesh.Proxy
		want  time.Duration
	}{
		"the defaults":                {mesh.Proxy{SecretTTL: mesh.Duration(24 * time.Hour), GraceRatio: 0.5, GraceJitter: 0.01}, 12*time.Hour + 14*time.Minute + 24*time.Second},
		"nothing known":               {mesh.Proxy{}, 24 * time.Hour},
		"a jitter of none is not one": {mesh.Proxy{SecretTTL: mesh.Duration(100 * time.Hour), GraceRatio: 0.5}, 51 * time.Hour},
		"early":                       {mesh.Proxy{SecretTTL: mesh.Duration(100 * time.Hour), GraceRatio: 0.9}, 11 * time.Hour},
		"late":                        {mesh.Proxy{SecretTTL: mesh.Duration(100 * time.Hour), GraceRatio: 0.1}, 91 * time.Hour},
		"at its end":                  {mesh.Proxy{SecretTTL: mesh.Duration(100 * time.Hour), GraceRatio: 0}, 100 * time.Hour},
		"more jitter than ratio":      {mesh.Proxy{SecretTTL: mesh.Duration(100 * time.Hour), GraceRatio: 0.2, GraceJitter: 0.4}, 100 * time.Hour},
		"a ztunnel knows neither":     {mesh.Proxy{Kind: mesh.Ztunnel, SecretTTL: mesh.Duration(100 * time.Hour), GraceRatio: 0.9}, 50 * time.Hour},
		"a leaf that lives longer": {mesh.Proxy{SecretTTL: mesh.Duration(time.Hour), GraceRatio: 0.51, // 25 hours, see newAuthority
			Loaded: &proxy.Loaded{Identities: []proxy.Identity{{Chain: []*pki.Certificate{newAuthority(t, "x", nil).cert}}}}}, (25*time.Hour - 2*time.Minute) / 2},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.proxy.RenewsWithin(); (got - test.want).Abs() > time.Second {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

// No renewal of an agent comes later than the bound, whatever its jitter draws, and
// some come close to it.
func TestRenewsWithinBoundsEveryDraw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := mesh.Proxy{
			SecretTTL:  mesh.Duration(rapid.Int64Range(int64(time.Minute), int64(90*24*time.Hour)).Draw(t, "ttl")),
			GraceRatio: rapid.Float64Range(0, 1).Draw(t, "ratio"), GraceJitter: rapid.Float64Range(0, 1).Draw(t, "jitter"),
		}
		bound, ttl := p.RenewsWithin(), time.Duration(p.SecretTTL)
		// rotateTime: the ratio, more or less up to the jitter, within 0 and 1.
		delay := func(draw float64) time.Duration {
			return ttl - time.Duration(min(max(p.GraceRatio+draw*p.GraceJitter, 0), 1)*float64(ttl))
		}
		if d := delay(rapid.Float64Range(-1, 1).Draw(t, "draw")); d > bound+time.Microsecond {
			t.Fatalf("it renews after %s, which is later than %s", d, bound)
		}
		if bound > ttl || p.GraceJitter >= 0.01 && bound > delay(-1)+time.Microsecond {
			t.Fatalf("the bound %s is wide of its latest %s", bound, delay(-1))
		}
	})
}

func TestUnheard(t *testing.T) {
	at := func(before time.Duration) time.Time { return clock.Add(-before) }
	s := &mesh.Snapshot{TakenAt: clock,
		Nodes: []mesh.Node{{Name: "well", Ready: true, LastReady: at(5 * time.Second)}, {Name: "late", Ready: true, LastReady: at(2 * time.Minute)}, {Name: "down", LastReady: at(time.Hour)}},
		Proxies: []mesh.Proxy{{Namespace: "a", Name: "1", Node: "well"}, {Namespace: "a", Name: "2", Node: "late"}, {Namespace: "a", Name: "3", Node: "down"},
			{Namespace: "a", Name: "4", Node: "gone"}, {Namespace: "a", Name: "5", Node: "down", Starting: true}, {Namespace: "a", Name: "6"}},
	}
	want := func(within time.Duration, proxies ...string) {
		t.Helper()
		got := s.Unheard(within)
		for i, u := range got {
			if i >= len(proxies) || u.Proxy != proxies[i] || u.Why == "" {
				t.Fatalf("%v, want %v", got, proxies)
			}
		}
		if len(got) != len(proxies) {
			t.Fatalf("%v, want %v", got, proxies)
		}
	}
	want(0, "a/3", "a/4")
	want(time.Minute, "a/2", "a/3", "a/4")
	want(time.Hour, "a/3", "a/4")
	s.Nodes, s.Gaps = nil, []mesh.Gap{{Resource: "nodes", Error: "forbidden"}}
	for _, u := range s.Unheard(0) {
		if !u.Unread {
			t.Errorf("%v: it is the list of nodes that is missing", u)
		}
	}
	want(0, "a/1", "a/2", "a/3", "a/4")
}
