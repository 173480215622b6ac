package main

import (
	"fmt"
	"time"
)

// Controls: ways that must fail requests on this mesh. Where they do not, it could not show that another way keeps them whole.
var controlRows = []row{
	{name: "control-onestep", about: "the root replaced in one step and istiod restarted", mesh: renewing, smoke: true, changes: true, limit: 5 * time.Minute, play: func(g *game) string {
		b := g.ca("B")
		root := b + "/root-cert.pem"
		t := startTally()
		g.inOneStep(b)
		during, after := 0, -1
		if has(g.ctx, "envoy") {
			during = g.meshca("envoy", "--root", root).code
			g.within(150*time.Second, func() bool { after = g.meshca("envoy", "--root", root).code; return after == 0 })
			g.result("envoy-follows-renewal", during == 2 && after == 0, fmt.Sprintf("exit %d while leaves were old, %d when all had renewed", during, after))
		}
		g.settled(t, 150*time.Second)
		s := t.end()
		return g.broken(s)
	}},
	{name: "control-seed003", about: "cacerts deleted and created, every workload restarted", mesh: renewing, changes: true, limit: 6 * time.Minute, play: func(g *game) string {
		t := startTally()
		g.script("seed003.sh", g.ca("B"))
		g.settled(t, time.Minute)
		s := t.end()
		return g.broken(s)
	}},
}

// inOneStep replaces the root with nothing in between.
func (g *game) inOneStep(dir string) {
	g.script("setca.sh", dir)
	g.kubectl("-n", "istio-system", "rollout", "restart", "deploy/istiod")
	g.kubectl("-n", "istio-system", "rollout", "status", "deploy/istiod", "--timeout=120s")
}

// settled waits until requests have failed and none has for ten seconds: the harm is done and over.
func (g *game) settled(t *tally, max time.Duration) {
	bad, since := 0, time.Now()
	g.within(max, func() bool {
		if n := t.sum().failed; n != bad {
			bad, since = n, time.Now()
		}
		return bad > 0 && time.Since(since) > 10*time.Second
	})
}

func (g *game) broken(s traffic) string {
	g.require(s.failed > 0, "a control that fails nothing:", s.String())
	return s.String() + ", as they must: " + clip(s.why(), 90)
}
