package main

import (
	"slices"
	"time"
)

// References: nothing done, and the known good ways by hand. They must fail no request, or what fails under a rotation is the mesh's own noise.
var baselineRows = []row{
	{name: "baseline", about: "nothing is done", mesh: hot, smoke: true, play: func(g *game) string {
		t := startTally()
		g.until("300 requests", time.Minute, func() bool { return t.sum().requests() >= 300 })
		return g.unharmed(t)
	}},
}

var referenceRows = []row{
	{name: "reference-hot", about: "bundle in three phases by hand: trust both, sign new, trust new", mesh: hot, changes: true, limit: 5 * time.Minute, play: func(g *game) string {
		before, t := g.pods(), startTally()
		g.byHand(started(), g.ca("B"))
		g.require(g.pods() == before, "workloads were restarted")
		return g.unharmed(t)
	}},
	{name: "reference-cross", about: "cross-signing by hand; leaves renew on their own", mesh: renewing, changes: true, limit: 8 * time.Minute, play: func(g *game) string {
		a, b := started(), g.ca("B")
		g.script("cross.sh", a, b)
		before, t := g.pods(), startTally()
		g.sign(g.with(b, "chain-cross.pem"), a+"/root-cert.pem")
		g.until("new leaves in every proxy", 3*time.Minute, func() bool { return g.every(func(l loaded) bool { return l.issuer == "intermediate B" }) })
		g.script("setca.sh", g.with(b, "chain-cross.pem"), b+"/root-cert.pem")
		g.kubectl("-n", "istio-system", "rollout", "restart", "deploy/istiod")
		g.kubectl("-n", "istio-system", "rollout", "status", "deploy/istiod", "--timeout=120s")
		g.until("the new root alone in every proxy", 3*time.Minute, func() bool {
			return g.every(func(l loaded) bool { return slices.Equal(l.roots, []string{"root B"}) })
		})
		g.sign(b, b+"/root-cert.pem") // without the cross certificate
		g.require(g.pods() == before, "workloads were restarted")
		return g.unharmed(t)
	}},
}

// unharmed ends the tally: there were requests, and none failed.
func (g *game) unharmed(t *tally) string {
	s := t.end()
	g.whole(s)
	return s.String()
}

// whole requires that there were requests, and that none failed.
func (g *game) whole(s traffic) {
	g.require(s.requests() > 0, "no requests: no evidence")
	g.require(s.failed == 0, s.String()+":", s.why())
}
