package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// life is how long the CA of a mesh that ends lasts: its mesh is up well before.
const life = 150 * time.Second

var (
	ending = &mesh{name: "ending", about: "both flags, 2 istiods, a CA that ends within minutes", life: life,
		helm: []string{"--set", "replicaCount=2"}}
	endingCold = &mesh{name: "ending-cold", about: "Istio's default flags, 2 istiods, a CA that ends within minutes and leaves that outlive it", life: life,
		helm: cold.helm}
)

// A CA that has ended: every new connection fails already. What is counted is what fails after the command has said that it is over.
var recoverRows = []row{
	{name: "recover-hot", about: "S2, G19: the CA has ended: refused but by its own strategy; a new CA, istiods restarted, the rest by push", mesh: ending, unrehearsed: "its CA ends, and nobody meets anybody in a copy of that", changes: true, needs: []string{"rotate"}, limit: 12 * time.Minute, play: func(g *game) string {
		return g.recover()
	}},
	{name: "recover-cold", about: "S2, G19: the same where no push reaches a proxy: its workloads follow in waves, after istiods and their webhooks", mesh: endingCold, unrehearsed: "its CA ends, and nobody meets anybody in a copy of that", long: true, changes: true, needs: []string{"rotate"}, limit: 12 * time.Minute, play: func(g *game) string {
		var allow []string
		for _, ns := range namespaces {
			allow = append(allow, "--allow-restart", ns+"/server", "--allow-restart", ns+"/client")
		}
		return g.recover(allow...)
	}},
}

// recover waits for the end of the CA, ends the outage by one command, and requires that it is over.
func (g *game) recover(allow ...string) string {
	g.until("ended: requests still succeed", 5*time.Minute, func() bool {
		before := clients()
		time.Sleep(2 * time.Second)
		for file, now := range clients() {
			if now.Failed == before[file].Failed {
				return false
			}
		}
		return len(before) == len(namespaces)
	})
	b := g.ca("B")
	o := g.meshca(g.rotate(b, "--trust-file-wait", "0")...)
	g.require(o.code == 2 && strings.Contains(o.err, "the mesh's CA ended") && strings.Contains(o.err, "--strategy recover"), "without its strategy: exit", itoa(o.code)+":", o.brief())
	g.require(g.roots() != read(b, "root-cert.pem"), "what was refused was written")
	began := time.Now()
	o = g.meshca(g.rotate(b, append(allow, "--strategy", "recover", "--trust-file-wait", "0", "--timeout", "8m", "-o", "json")...)...)
	took := time.Since(began).Seconds()
	g.require(o.code == 0, "rotate: exit", itoa(o.code)+":", o.brief())
	g.require(quiet(g.ctx) == nil, "it is said to be over, and requests fail")
	t := startTally()
	time.Sleep(10 * time.Second)
	s := t.end()
	g.whole(s)
	g.require(g.settledOn(read(b, "root-cert.pem")), "the ConfigMaps do not hold the new root alone")
	v := g.meshca("verify", "--root", filepath.Join(b, "root-cert.pem"), "--csr-proof")
	g.require(v.code == 0, "verify: exit", itoa(v.code)+":", v.brief())
	o2 := g.meshca("rollback", "--yes")
	g.require(o2.code == 2 && strings.Contains(o2.err, "ended"), "rollback: exit", itoa(o2.code)+":", o2.brief())
	return fmt.Sprintf("the outage ended in %.0f s; then %s; engine %s s, %s istiods restarted, %s workload pods", took, s, figure(o, "engineSeconds"), figure(o, "istiodRestarts"), figure(o, "workloadRestarts"))
}
