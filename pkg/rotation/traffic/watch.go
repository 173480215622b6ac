package traffic

import (
	"net"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
)

// DefaultWindow is how much of the latest traffic an endpoint is judged by.
const DefaultWindow = time.Minute

// Watch holds what the proxies have counted, reading by reading: before Change the
// baseline, after it what is judged. The zero value is ready.
type Watch struct {
	// Window is how far back from an endpoint's latest traffic its judgement goes;
	// zero is DefaultWindow. What is older is forgotten only then: where nothing
	// more is tried, the last that was seen stands.
	Window time.Duration

	clients map[string]reading // by the client pod's UID
	at      time.Time
	hosts   map[string]host
	pairs   map[string]map[key]*pair // by the client pod's UID
	changed time.Time
	unread  []string
	resets  int
	total   Counters // of living endpoints, since the change
	// between counts readings of one client that followed each other before Change.
	between int
}

// reading is what one proxy said, and who was there then.
type reading struct {
	counters map[place]Counters
	hosts    map[string]host
}

// place is an endpoint as a client names it.
type place struct{ cluster, address string }

// host is who has an address: one pod, or several on their node's network.
type host struct {
	uid, ref string
	ready    bool
}

// key is a client, a server, and the way between them.
type key struct {
	client, server string // UIDs; server is "" outside the mesh
	place
}

type pair struct {
	client, server string // namespace/name
	before         Counters
	after          []delta
}

// delta is what was added between two readings.
type delta struct {
	at time.Time
	Counters
}

// Add takes a reading of all proxies, with their counters. What is not later than
// the one before is passed over.
func (w *Watch) Add(at time.Time, proxies []mesh.Proxy) {
	if !w.at.IsZero() && !at.After(w.at) {
		return
	}
	hosts := hostsOf(proxies)
	clients := make(map[string]reading, len(proxies))
	w.unread = nil
	for _, p := range proxies {
		before, known := w.clients[p.UID]
		if p.Kind == mesh.Ztunnel || p.Idle() {
			continue
		}
		if p.Error != "" {
			w.unread = append(w.unread, p.Ref())
			if known {
				clients[p.UID] = before // the next that can be read is held against it
			}
			continue
		}
		now := reading{counters: map[place]Counters{}, hosts: hosts}
		for _, u := range p.Upstreams {
			// What was never used is most of it, and begins at zero wherever it is missing.
			if c := of(u); c != (Counters{}) && meshed(u.Cluster) {
				now.counters[place{u.Cluster, u.Endpoint}] = c
			}
		}
		clients[p.UID] = now
		if known {
			w.compare(at, p, before, now)
		}
		w.prune(p)
	}
	w.clients, w.hosts, w.at = clients, hosts, at
	for uid := range w.pairs {
		if _, there := clients[uid]; !there {
			delete(w.pairs, uid)
		}
	}
}

// Change ends the baseline: from the latest reading on everything is judged. Called
// again it does nothing, so that no phase forgets what the one before has broken.
func (w *Watch) Change() {
	if w.changed.IsZero() {
		w.changed = w.at
	}
}

func (w *Watch) compare(at time.Time, p mesh.Proxy, before, now reading) {
	if w.changed.IsZero() {
		w.between++
	}
	for where, c := range now.counters {
		d, ok := c.since(before.counters[where])
		if !ok {
			w.resets++
			continue
		}
		if d == (Counters{}) {
			continue
		}
		was, is := before.hosts[where.ip()], now.hosts[where.ip()]
		if was.uid != is.uid || is.uid != "" && !(was.ready && is.ready) {
			continue // it does not live through this interval
		}
		k := key{p.UID, is.uid, where}
		one := w.pairs[p.UID][k]
		if one == nil {
			one = &pair{client: p.Ref(), server: is.ref}
			if w.pairs == nil {
				w.pairs = map[string]map[key]*pair{}
			}
			if w.pairs[p.UID] == nil {
				w.pairs[p.UID] = map[key]*pair{}
			}
			w.pairs[p.UID][k] = one
		}
		if w.changed.IsZero() {
			one.before.add(d)
			continue
		}
		if is.uid != "" {
			w.total.add(d)
		}
		window := w.Window
		if window <= 0 {
			window = DefaultWindow
		}
		one.after = slices.DeleteFunc(one.after, func(old delta) bool { return at.Sub(old.at) > window })
		one.after = append(one.after, delta{at, d})
	}
}

// prune forgets endpoints that a client has no more: nothing can be learnt of them.
func (w *Watch) prune(p mesh.Proxy) {
	there := make(map[place]bool, len(p.Upstreams))
	for _, u := range p.Upstreams {
		there[place{u.Cluster, u.Endpoint}] = true
	}
	for k := range w.pairs[p.UID] {
		if !there[k.place] {
			delete(w.pairs[p.UID], k)
		}
	}
}

// lives reports whether the server is still who it was; a client that is not is
// forgotten.
func (w *Watch) lives(k key) bool { return w.hosts[k.ip()].uid == k.server }

// ip is the endpoint's address without its port, also of a waypoint's internal
// listener ("envoy://connect_originate/10.0.0.1:8080").
func (p place) ip() string {
	address := p.address[strings.LastIndex(p.address, "/")+1:]
	if ip, _, err := net.SplitHostPort(address); err == nil {
		return ip
	}
	return address
}

func hostsOf(proxies []mesh.Proxy) map[string]host {
	at := map[string][]mesh.Proxy{}
	for _, p := range proxies {
		if p.IP != "" {
			at[p.IP] = append(at[p.IP], p)
		}
	}
	hosts := make(map[string]host, len(at))
	for ip, all := range at {
		h := host{ready: true}
		slices.SortFunc(all, func(a, b mesh.Proxy) int { return strings.Compare(a.UID, b.UID) })
		for n, p := range all {
			if n > 0 {
				h.uid, h.ref = h.uid+" ", h.ref+" or "
			}
			h.uid, h.ref, h.ready = h.uid+p.UID, h.ref+p.Ref(), h.ready && p.Ready && !p.Terminating
		}
		hosts[ip] = h
	}
	return hosts
}
