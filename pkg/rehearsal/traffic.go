package rehearsal

import "time"

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
}

// met counts one handshake.
func (t *traffic) met(client, server *side, ok bool) {
	pairs := client.stands * server.stands
	t.Handshakes += uint64(pairs)
	t.next += pairs
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
