package traffic

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Evidence says what the traffic since the change can prove at all.
type Evidence string

const (
	// Answered: new connections to endpoints that lived through it, and requests over
	// them that were answered: handshakes have worked from both sides.
	Answered Evidence = "answered"
	// Connected: new connections, but no request that was answered: TCP, where under
	// TLS 1.3 a refused client certificate shows nowhere. That is no proof.
	Connected Evidence = "connected"
	// None: no new connection at all.
	None Evidence = "none"
)

// Counter is the one that rose, by Envoy's name.
type Counter string

const (
	ConnectFail  Counter = "cx_connect_fail"
	RequestError Counter = "rq_error"
)

// Endpoint is one that fails more than it did, as seen by one client.
type Endpoint struct {
	// Client and Server are namespace/name of pods; Address is what Cluster has.
	Client  string  `json:"client"`
	Server  string  `json:"server,omitempty"`
	Cluster string  `json:"cluster"`
	Address string  `json:"address"`
	Counter Counter `json:"counter"`
	// Before is what was counted as the baseline, Now in the window up to Last.
	Before Counters  `json:"before"`
	Now    Counters  `json:"now"`
	Last   time.Time `json:"last"`
}

// String says which client, which endpoint, and by how much.
func (e Endpoint) String() string {
	now, before, what := e.odds()
	was := "none was seen before the change"
	if before.of > 0 {
		was = fmt.Sprintf("%d of %d before the change", before.failed, before.of)
	}
	return fmt.Sprintf("%s to %s at %s: %d of %d %s failed (%s), %s", e.Client, cmp.Or(e.Server, "a server outside the mesh"), e.Address, now.failed, now.of, what, e.Counter, was)
}

func (e Endpoint) odds() (now, before odds, what string) {
	if e.Counter == ConnectFail {
		return odds{e.Now.ConnectFail, e.Now.attempts()}, odds{e.Before.ConnectFail, e.Before.attempts()}, "new connections"
	}
	return odds{e.Now.Errors, e.Now.asked()}, odds{e.Before.Errors, e.Before.asked()}, "requests"
}

// Warning is worth knowing, and closes nothing.
type Warning struct {
	Endpoint
	Why string `json:"why"`
}

// Verdict is what the counters say about the time since the change.
type Verdict struct {
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Rising are the endpoints that fail more than before. Any of them closes a gate.
	Rising   []Endpoint `json:"rising,omitempty"`
	Warnings []Warning  `json:"warnings,omitempty"`
	// Counted are the sums over endpoints that lived through it, since the change.
	Counted  Counters `json:"counted"`
	Evidence Evidence `json:"evidence"`
	// Baseline is false where nothing was counted before the change: then every
	// failure counts as new.
	Baseline bool `json:"baseline"`
	// Unread are the proxies whose counters the latest reading lacks; Resets counts
	// counters that began anew, whose interval says nothing.
	Unread []string `json:"unread,omitempty"`
	Resets int      `json:"resets,omitempty"`
}

// Closed reports whether the gate is closed.
func (v Verdict) Closed() bool { return len(v.Rising) > 0 }

// String is the verdict in one sentence.
func (v Verdict) String() string {
	c := v.Counted
	switch {
	case v.Closed():
		return fmt.Sprintf("handshakes fail more than before the change at %d endpoints: %s", len(v.Rising), v.Rising[0])
	case v.Evidence == None:
		return "no new connection since the change: traffic is no evidence"
	case v.Evidence == Connected:
		return fmt.Sprintf("%d new connections, %d failed, but no request that was answered: under TLS 1.3 that is no evidence", c.Connections, c.ConnectFail)
	}
	text := fmt.Sprintf("%d new connections, %d failed; %d requests, %d failed since the change", c.Connections, c.ConnectFail, c.Requests, c.Errors)
	if c.ConnectFail+c.Errors > 0 {
		text += "; no endpoint fails more now than before it"
	}
	return text
}

// Verdict judges what has been added so far. Before Change there is nothing to judge.
func (w *Watch) Verdict() Verdict {
	v := Verdict{Since: w.changed, Until: w.at, Counted: w.total, Unread: slices.Clone(w.unread), Resets: w.resets, Baseline: w.between > 0, Evidence: None}
	switch {
	case w.total.Connections > w.total.ConnectFail && w.total.Successes > 0:
		v.Evidence = Answered
	case w.total.Connections > 0:
		v.Evidence = Connected
	}
	judged := 0
	for _, pairs := range w.pairs {
		judged += 2 * len(pairs)
	}
	for _, pairs := range w.pairs {
		for k, p := range pairs {
			if len(p.after) > 0 && w.lives(k) {
				v.judge(k, p, chance/float64(judged))
			}
		}
	}
	order := func(a, b Endpoint) int {
		return cmp.Or(cmp.Compare(a.Client, b.Client), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Counter, b.Counter))
	}
	slices.SortFunc(v.Rising, order)
	slices.SortFunc(v.Warnings, func(a, b Warning) int { return cmp.Or(order(a.Endpoint, b.Endpoint), cmp.Compare(a.Why, b.Why)) })
	return v
}

func (v *Verdict) judge(k key, p *pair, chance float64) {
	var all, fresh Counters // fresh: only where new connections came with it
	for _, d := range p.after {
		all.add(d.Counters)
		if d.Connections > 0 {
			fresh.add(d.Counters)
		}
	}
	e := Endpoint{Client: p.client, Server: p.server, Cluster: k.cluster, Address: k.address, Before: p.before, Last: p.after[len(p.after)-1].at}
	say := func(counter Counter, now Counters, newly bool) {
		e.Counter, e.Now = counter, now
		seen, before, _ := e.odds()
		switch {
		case !unlikely(seen, before, chance):
		case !newly:
			v.Warnings = append(v.Warnings, Warning{e, "requests fail without a new connection: the application, or a connection that ended"})
		case k.server == "":
			v.Warnings = append(v.Warnings, Warning{e, "no pod of this mesh has this address: its certificate is not this mesh's"})
		case !rose(seen, before, chance):
			v.Warnings = append(v.Warnings, Warning{e, "one failure alone is no rise"})
		default:
			v.Rising = append(v.Rising, e)
		}
	}
	say(ConnectFail, all, true)
	// A failed connection is counted as a failed request too: said once is enough.
	if all.Errors > all.ConnectFail {
		if fresh.Errors > 0 {
			say(RequestError, fresh, true)
		} else {
			say(RequestError, all, false)
		}
	}
}
