package traffic_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rotation/traffic"
	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)

const (
	cluster = "outbound|80||server.b.svc.cluster.local"
	address = "10.0.0.2:8080"
)

// pods are a client and the server it calls, the client with these counters.
func pods(u proxy.Upstream) []mesh.Proxy {
	if u.Cluster == "" {
		u.Cluster = cluster
	}
	if u.Endpoint == "" {
		u.Endpoint = address
	}
	return []mesh.Proxy{
		{Namespace: "a", Name: "client", UID: "c", IP: "10.0.0.1", Ready: true, Upstreams: []proxy.Upstream{u}},
		{Namespace: "b", Name: "server", UID: "s", IP: "10.0.0.2", Ready: true},
	}
}

// calls are counters after so many new connections, one request each.
func calls(n, connectFail, errors uint64) proxy.Upstream {
	return proxy.Upstream{Connections: n, ConnectFail: connectFail, Requests: n - connectFail, Errors: errors, Successes: n - max(errors, connectFail)}
}

// judged reads before, base, and, after the change, the others.
func judged(all ...[]mesh.Proxy) traffic.Verdict {
	w := &traffic.Watch{}
	for n, proxies := range all {
		w.Add(epoch.Add(time.Duration(n)*10*time.Second), proxies)
		if n == 1 {
			w.Change()
		}
	}
	return w.Verdict()
}

func TestVerdict(t *testing.T) {
	with := func(proxies []mesh.Proxy, change func(client, server *mesh.Proxy)) []mesh.Proxy {
		change(&proxies[0], &proxies[1])
		return proxies
	}
	start, base := pods(calls(100, 0, 0)), pods(calls(200, 0, 0))
	for name, test := range map[string]struct {
		readings [][]mesh.Proxy
		closed   bool
		evidence traffic.Evidence
		says     string
		warns    string
	}{
		"sound":                 {readings: [][]mesh.Proxy{start, base, pods(calls(300, 0, 0))}, evidence: traffic.Answered, says: "100 new connections, 0 failed"},
		"idle":                  {readings: [][]mesh.Proxy{start, base, base}, evidence: traffic.None, says: "no evidence"},
		"TLS 1.2 refusals":      {readings: [][]mesh.Proxy{start, base, pods(calls(300, 20, 20))}, closed: true, evidence: traffic.Answered, says: "a/client to b/server at 10.0.0.2:8080: 20 of 100 new connections failed (cx_connect_fail), 0 of 100 before"},
		"TLS 1.3 refusals":      {readings: [][]mesh.Proxy{start, base, pods(calls(300, 0, 20))}, closed: true, evidence: traffic.Answered, says: "20 of 100 requests failed (rq_error)"},
		"everything is refused": {readings: [][]mesh.Proxy{start, base, pods(calls(300, 100, 100))}, closed: true, evidence: traffic.Connected, says: "100 of 100"},
		"one failure":           {readings: [][]mesh.Proxy{start, base, pods(calls(300, 1, 1))}, evidence: traffic.Answered, warns: "alone"},
		"as flaky as before":    {readings: [][]mesh.Proxy{start, pods(calls(200, 10, 10)), pods(calls(300, 18, 18))}, evidence: traffic.Answered},
		"flakier than before":   {readings: [][]mesh.Proxy{start, pods(calls(200, 5, 5)), pods(calls(300, 45, 45))}, closed: true, evidence: traffic.Answered, says: "5 of 100 before the change"},
		"errors over old connections": {readings: [][]mesh.Proxy{start, base, pods(proxy.Upstream{Connections: 200, Requests: 300, Successes: 280, Errors: 20})},
			evidence: traffic.None, warns: "without a new connection"},
		"TCP":                  {readings: [][]mesh.Proxy{start, base, pods(proxy.Upstream{Connections: 300, Requests: 300, Successes: 200})}, evidence: traffic.Connected, says: "TLS 1.3"},
		"the client restarted": {readings: [][]mesh.Proxy{start, base, pods(calls(150, 50, 50))}, evidence: traffic.None},
		"another client pod":   {readings: [][]mesh.Proxy{start, base, with(pods(calls(300, 50, 50)), func(c, _ *mesh.Proxy) { c.UID = "d" })}, evidence: traffic.None},
		"another server pod":   {readings: [][]mesh.Proxy{start, base, with(pods(calls(300, 50, 50)), func(_, s *mesh.Proxy) { s.UID = "t" })}, evidence: traffic.None},
		"the server is going":  {readings: [][]mesh.Proxy{start, base, with(pods(calls(300, 50, 50)), func(_, s *mesh.Proxy) { s.Terminating = true })}, evidence: traffic.None},
		"the server is not up": {readings: [][]mesh.Proxy{start, base, with(pods(calls(300, 50, 50)), func(_, s *mesh.Proxy) { s.Ready = false })}, evidence: traffic.None},
		"outside the mesh":     {readings: [][]mesh.Proxy{start[:1], base[:1], pods(calls(300, 50, 50))[:1]}, evidence: traffic.None, warns: "no pod of this mesh"},
		"the application":      {readings: [][]mesh.Proxy{start, base, pods(proxy.Upstream{Cluster: "inbound|8080||", Endpoint: address, Connections: 50, ConnectFail: 50})}, evidence: traffic.None},
		"a waypoint":           {readings: [][]mesh.Proxy{start, base, pods(proxy.Upstream{Cluster: "inbound-vip|80|http|b", Endpoint: "envoy://connect_originate/" + address, Connections: 50, ConnectFail: 50})}, closed: true, evidence: traffic.Connected, says: "none was seen"},
		"IPv6": {readings: func() (all [][]mesh.Proxy) {
			for n, u := range []proxy.Upstream{calls(1, 0, 0), calls(2, 0, 0), calls(9, 7, 7)} {
				u.Endpoint = "[fd00::2]:8080"
				all = append(all, with(pods(u), func(_, s *mesh.Proxy) { s.IP = "fd00::2" }))
				_ = n
			}
			return
		}(), closed: true, evidence: traffic.Connected},
		"unreadable": {readings: [][]mesh.Proxy{start, base, with(pods(calls(300, 50, 50)), func(c, _ *mesh.Proxy) { c.Error, c.Upstreams = "no answer", nil })}, evidence: traffic.None},
		"unreadable between": {readings: [][]mesh.Proxy{start, base, with(pods(calls(1, 0, 0)), func(c, _ *mesh.Proxy) { c.Error, c.Upstreams = "no answer", nil }), pods(calls(300, 50, 50))},
			closed: true, evidence: traffic.Answered},
		"recovered":            {readings: [][]mesh.Proxy{start, base, pods(calls(300, 20, 20)), pods(calls(400, 20, 20)), pods(calls(500, 20, 20)), pods(calls(600, 20, 20)), pods(calls(700, 20, 20)), pods(calls(800, 20, 20)), pods(calls(900, 20, 20)), pods(calls(999, 20, 20))}, evidence: traffic.Answered},
		"given up":             {readings: append([][]mesh.Proxy{start, base, pods(calls(300, 20, 20))}, slices.Repeat([][]mesh.Proxy{pods(calls(300, 20, 20))}, 30)...), closed: true, evidence: traffic.Answered},
		"the server is gone":   {readings: [][]mesh.Proxy{start, base, pods(calls(300, 20, 20)), with(pods(calls(300, 20, 20)), func(_, s *mesh.Proxy) { s.UID = "t" })}, evidence: traffic.Answered},
		"the endpoint is gone": {readings: [][]mesh.Proxy{start, base, pods(calls(300, 20, 20)), with(pods(calls(0, 0, 0)), func(c, _ *mesh.Proxy) { c.Upstreams = nil })}, evidence: traffic.Answered},
	} {
		t.Run(name, func(t *testing.T) {
			v := judged(test.readings...)
			if v.Closed() != test.closed || v.Evidence != test.evidence || !strings.Contains(v.String(), test.says) || !v.Baseline {
				t.Errorf("%s: %+v", v, v)
			}
			warned := ""
			for _, w := range v.Warnings {
				warned += w.Why
			}
			if !strings.Contains(warned, test.warns) || test.warns == "" && warned != "" {
				t.Errorf("warned: %q", warned)
			}
			if name == "unreadable" && fmt.Sprint(v.Unread) != "[a/client]" || name == "the client restarted" && v.Resets != 1 {
				t.Errorf("%+v", v)
			}
		})
	}
}

// TestNoBaseline: failures that nothing is known from before about count as new.
func TestNoBaseline(t *testing.T) {
	w := &traffic.Watch{}
	w.Add(epoch, pods(calls(100, 50, 50)))
	w.Change()
	w.Add(epoch.Add(time.Second), pods(calls(200, 60, 60)))
	if v := w.Verdict(); v.Baseline || !v.Closed() {
		t.Errorf("%+v", v)
	}
	w.Add(epoch, pods(calls(1, 0, 0))) // late: passed over
	if v := w.Verdict(); v.Resets > 0 {
		t.Errorf("%+v", v)
	}
}

func draw(t *rapid.T, name string, of uint64) (attempts, failed uint64) {
	attempts = rapid.Uint64Range(0, of).Draw(t, name)
	return attempts, rapid.Uint64Range(0, attempts).Draw(t, name+" failed")
}

// TestShares: a share no larger than before never closes the gate; two failures
// where there were none always do; and more failures never open it.
func TestShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		baseN, baseK := draw(t, "before", 5000)
		n, k := draw(t, "after", 5000)
		tls13 := rapid.Bool().Draw(t, "TLS 1.3")
		verdict := func(k uint64) traffic.Verdict {
			read := func(n, k uint64) []mesh.Proxy {
				if tls13 {
					return pods(proxy.Upstream{Connections: n, Requests: n, Errors: k, Successes: n - k})
				}
				return pods(calls(n, k, k))
			}
			return judged(read(0, 0), read(baseN, baseK), read(baseN+n, baseK+k))
		}
		v := verdict(k)
		if v.Counted.Connections != n || v.Evidence == traffic.None != (n == 0) {
			t.Fatalf("%+v", v)
		}
		switch {
		case baseN > 0 && k*baseN <= n*baseK && v.Closed():
			t.Fatalf("%d of %d closes, after %d of %d: %s", k, n, baseK, baseN, v)
		case baseK == 0 && k >= 2 && !v.Closed():
			t.Fatalf("%d of %d is no rise, after 0 of %d", k, n, baseN)
		case v.Closed() && k < n && !verdict(n).Closed():
			t.Fatalf("%d of %d closes, all of them do not", k, n)
		}
	})
}

// TestReadings: more readings of the same traffic, and resets under way, change
// nothing of what closes; only growth counts.
func TestReadings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, k := draw(t, "after", 1000)
		middle := rapid.Uint64Range(0, n).Draw(t, "middle")
		middleK := rapid.Uint64Range(min(k, k-min(k, n-middle)), min(k, middle)).Draw(t, "middle failed")
		start, base := pods(calls(0, 0, 0)), pods(calls(100, 0, 0))
		whole := judged(start, base, pods(calls(100+n, k, k)))
		split := judged(start, base, pods(calls(100+middle, middleK, middleK)), pods(calls(100+n, k, k)))
		if whole.Closed() != split.Closed() || whole.Counted != split.Counted {
			t.Fatalf("%+v\n%+v", whole, split)
		}
		fallen := rapid.Uint64Range(0, 99).Draw(t, "fallen")
		reset := judged(start, base, pods(calls(fallen, min(fallen, k), min(fallen, k))))
		if reset.Closed() || reset.Evidence != traffic.None || reset.Counted != (traffic.Counters{}) {
			t.Fatalf("after a reset: %+v", reset)
		}
	})
}

// TestOneFalls: each counter alone tells that all began anew.
func TestOneFalls(t *testing.T) {
	for name, fall := range map[string]func(*proxy.Upstream){
		"connections": func(u *proxy.Upstream) { u.Connections = 199 }, "connect failures": func(u *proxy.Upstream) { u.ConnectFail = 9 },
		"requests": func(u *proxy.Upstream) { u.Requests = 189 }, "successes": func(u *proxy.Upstream) { u.Successes = 9 }, "errors": func(u *proxy.Upstream) { u.Errors = 9 },
	} {
		later := calls(300, 90, 90)
		fall(&later)
		if v := judged(pods(calls(100, 10, 10)), pods(calls(200, 10, 10)), pods(later)); v.Resets != 1 || v.Evidence != traffic.None {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// TestMany: one broken pair among thousands is found, and noise is not.
func TestMany(t *testing.T) {
	var all [3][]mesh.Proxy
	for r := range all {
		for n := range 2000 {
			u := calls(uint64(100*(r+1)), uint64(r+1), uint64(r+1))
			switch {
			case n == 77 && r == 2:
				u = calls(300, 40, 40)
			case n == 78 && r == 2:
				u = calls(300, 14, 14) // alone it were a rise; among thousands one is this unlucky
			}
			u.Cluster, u.Endpoint = cluster, fmt.Sprintf("10.1.%d.%d:80", n/250, n%250)
			all[r] = append(all[r], mesh.Proxy{Namespace: "a", Name: fmt.Sprint("p", n), UID: fmt.Sprint(n), IP: fmt.Sprintf("10.1.%d.%d", n/250, n%250), Ready: true, Upstreams: []proxy.Upstream{u}})
		}
	}
	v := judged(all[:]...)
	if len(v.Rising) != 1 || v.Rising[0].Client != "a/p77" || v.Rising[0].Counter != traffic.ConnectFail {
		t.Errorf("%+v", v.Rising)
	}
	for r := range all {
		all[r] = all[r][78:79]
	}
	if v := judged(all[:]...); !v.Closed() {
		t.Errorf("alone: %+v", v)
	}
}
