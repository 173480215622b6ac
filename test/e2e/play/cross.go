package main

import (
	"fmt"
	"time"
)

// A rotation by cross-signing: Istio's default flags, istiod restarts only.
var crossRows = []row{
	{name: "cross-default-flags", about: "cross-sign with the old root's key; leaves renew on their own", mesh: renewing, smoke: true, changes: true, needs: []string{"rotate"}, limit: 10 * time.Minute, play: func(g *game) string {
		b := g.ca("B")
		before, t := g.pods(), startTally()
		o := g.meshca(g.rotate(b, "--old-root-key", started()+"/root-key.pem", "--trust-file-wait", "0", "--timeout", "8m", "-o", "json")...)
		s := t.end()
		g.require(o.code == 0, "rotate: exit", itoa(o.code)+":", o.brief())
		g.whole(s)
		g.require(g.pods() == before, "workloads were restarted")
		g.require(g.settledOn(read(b, "root-cert.pem")), "the ConfigMaps do not hold the new root alone")
		return fmt.Sprintf("%s, rotate %.0f s, no workload restart", s, o.took.Seconds())
	}},
}
