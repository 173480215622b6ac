package rehearsal

import (
	"fmt"
	"io"
	"time"
)

// Traffic are the counters of what the mesh's workloads ask each other: every pair
// keeps a connection and sends a request a second over it; a connection is made
// anew whenever a certificate changes on either side, and a handshake that fails
// fails its requests.
type Traffic struct {
	Handshakes, HandshakesFailed uint64
	Requests, RequestsFailed     uint64
	// Failing are pairs that have no connection now.
	Failing int
}

type traffic struct {
	Traffic
	since   time.Time
	pairs   int
	failing int
	next    int
	broken  int
	each    map[[2]*sidecar]met // by client and server, while there are few
}

// met counts the handshakes of one pair.
type met struct{ total, failed uint64 }

// met counts one handshake.
func (t *traffic) met(client, server *side, ok bool) {
	pairs := client.stands * server.stands
	t.Handshakes += uint64(pairs)
	t.next += pairs
	if pairs == 1 {
		if t.each == nil {
			t.each = map[[2]*sidecar]met{}
		}
		key := [2]*sidecar{client.p, server.p}
		seen := t.each[key]
		seen.total++
		if !ok {
			seen.failed++
		}
		t.each[key] = seen
	}
	if !ok {
		t.HandshakesFailed += uint64(pairs)
		t.broken += pairs
	}
}

// settle counts the requests of the time that has passed, at the pairs' state until
// now, and begins with that of the handshakes since.
func (t *traffic) settle(now time.Time) {
	seconds := now.Sub(t.since).Seconds()
	if seconds > 0 && !t.since.IsZero() {
		t.Requests += uint64(seconds * float64(t.pairs))
		t.RequestsFailed += uint64(seconds * float64(t.failing))
	}
	t.since = now
	if t.next > 0 {
		t.pairs, t.failing = t.next, t.broken
		t.next, t.broken = 0, 0
	}
}

// Traffic are the counters so far.
func (m *Mesh) Traffic() Traffic {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.traffic.settle(m.clock.Now())
	all := m.traffic.Traffic
	all.Failing = m.traffic.failing
	return all
}

// counters are a proxy's own of its peers, in the form of Envoy's /clusters.
func (m *Mesh) counters(w io.Writer, client *sidecar) {
	m.traffic.settle(m.clock.Now())
	for _, server := range m.proxies {
		met := m.traffic.each[[2]*sidecar{client, server}]
		for _, counter := range []struct {
			name  string
			value uint64
		}{{"cx_total", met.total}, {"cx_connect_fail", met.failed}, {"cx_active", 1}, {"rq_total", met.total}, {"rq_error", met.failed}} {
			fmt.Fprintf(w, "outbound|80||%s.%s.svc.cluster.local::10.0.%d.%d:80::%s::%d\n", server.workload.Name, server.namespace, server.number>>8, server.number&0xff, counter.name, counter.value)
		}
	}
}
