package main

import (
	"fmt"
	"time"
)

// Two control planes of one mesh, which sign from one CA.
var revisionRows = []row{
	{name: "two-revisions", about: "two revisions of istiod, workloads of both: by push to another root, and by renewal to a third", mesh: revisions, changes: true, needs: []string{"rotate", "retire"}, limit: 6 * time.Minute, play: func(g *game) string {
		all := g.podsOf("istio-system", "app=istiod")
		g.require(len(all) == 2, "harness: not two istiods")
		b, c := g.ca("B"), g.ca("C")
		before, t := g.pods(), startTally()
		first := g.meshca(g.rotate(b, "--trust-file-wait", "0", "-o", "json")...)
		g.require(first.code == 0, "hot-bundle: exit", itoa(first.code)+":", first.brief())
		for _, p := range all {
			g.require(first.said(p.name), "no event names istiod", p.name)
		}
		g.holds(b, true)
		gone := g.meshca("retire", "--confirm", g.kubectl("-n", "istio-system", "get", "secret", "meshca-staged", "-o", `jsonpath={.metadata.labels.meshca\.io/rotation}`))
		g.require(gone.code == 0, "retire: exit", itoa(gone.code)+":", gone.brief())
		second := g.meshca(g.swap(g.rotate(c, "--old-root-key", b+"/root-key.pem", "--strategy", "hot-bundle", "--reason", "move", "--trust-file-wait", "0", "-o", "json"), "--sealed-file", g.dir+"/second.age")...)
		g.require(second.code == 0, "hot-bundle again: exit", itoa(second.code)+":", second.brief())
		s := t.end()
		g.whole(s)
		g.require(g.pods() == before, "workloads were restarted")
		g.holds(c, true)
		return fmt.Sprintf("%s, engine %s s and %s s, no restart", s, figure(first, "engineSeconds"), figure(second, "engineSeconds"))
	}},
}
