package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// The way back from every phase of every strategy, gated like the way there.
var backRows = []row{
	{name: "back-hot", about: "by push: back from trust-new, from sign-new and from the end", mesh: hot, changes: true, needs: []string{"rotate", "rollback"}, limit: 6 * time.Minute, play: func(g *game) string {
		return g.thereAndBack(g.ca("B"), []string{"trust-new", "sign-new", ""})
	}},
	{name: "back-intermediate", about: "another intermediate: back from its end", mesh: hot, changes: true, needs: []string{"rotate", "rollback", "ca"}, limit: 5 * time.Minute, play: func(g *game) string {
		a, b := started(), filepath.Join(g.dir, "A2")
		o := g.meshca("ca", "new", "--out", b, "--by", a+"/root-cert.pem", "--by-key", a+"/root-key.pem", "--subject-intermediate", "O=e2e,CN=intermediate A2")
		g.require(o.code == 0, "ca new:", o.brief())
		return g.thereAndBack(b, []string{""})
	}},
	{name: "back-waves", about: "two workloads restarted in waves: back from trust-new, from sign-new and from the end, they alone restarted again", mesh: hot, long: true, changes: true, needs: []string{"rotate", "rollback"}, limit: 8 * time.Minute, play: func(g *game) string {
		g.offPush("c")
		return g.thereAndBack(g.ca("B"), []string{"trust-new", "sign-new", ""}, "--strategy", "bundle-by-restart", "--reason", "compromised", "--allow-restart", "c/server", "--allow-restart", "c/client")
	}},
	{name: "back-renewal", about: "by renewal: back from trust-new, from sign-new and from the end", mesh: brief, long: true, changes: true, needs: []string{"rotate", "rollback"}, limit: 10 * time.Minute, play: func(g *game) string {
		return g.thereAndBack(g.ca("B"), []string{"trust-new", "sign-new", ""}, "--strategy", "bundle-by-renewal")
	}},
	{name: "back-cross", about: "cross-signed: back from sign-new and from swap-trust", mesh: brief, changes: true, needs: []string{"rotate", "rollback"}, limit: 10 * time.Minute, play: func(g *game) string {
		return g.thereAndBack(g.ca("B"), []string{"sign-new", "swap-trust"}, "--old-root-key", started()+"/root-key.pem")
	}},
	{name: "back-cross-end", about: "cross-signed: back from the end", mesh: brief, long: true, changes: true, needs: []string{"rotate", "rollback"}, limit: 10 * time.Minute, play: func(g *game) string {
		return g.thereAndBack(g.ca("B"), []string{""}, "--old-root-key", started()+"/root-key.pem")
	}},
	{name: "back-adopt", about: "from Istio's own root: back from adopt, from sign-new, from swap-trust and from the end, to the self-signed pair in cacerts", mesh: selfSigned, long: true, changes: true, needs: []string{"rotate", "rollback"}, limit: 16 * time.Minute, play: func(g *game) string {
		return g.thereAndBack(g.ca("B"), []string{"adopt", "sign-new", "swap-trust", ""})
	}},
}

// thereAndBack rotates until each of these phases, "" for the end, and back from there. Workloads off the push alone may be restarted.
func (g *game) thereAndBack(b string, untils []string, more ...string) string {
	old := g.roots()
	watched, restarts := g.spared(more)
	on := append([]string{"--yes", "--trust-file-wait", "0", "--traffic-baseline", "2s", "--timeout", "8m"}, restarts...)
	before, t := watched(), startTally()
	var took []string
	timed := func(args ...string) {
		o := g.meshca(args...)
		g.require(o.code == 0, args[0]+": exit", itoa(o.code)+":", o.brief())
		took = append(took, fmt.Sprintf("%s %.0f s", args[0], o.took.Seconds()))
	}
	for i, until := range untils {
		line := append([]string{"rotate"}, on...)
		if i == 0 {
			line = g.rotate(b, append([]string{"--trust-file-wait", "0", "--timeout", "8m"}, more...)...)
		}
		if until != "" {
			line = append(line, "--until", until)
		}
		timed(line...)
		if until == "" {
			g.require(g.settledOn(read(b, "root-cert.pem")), "at the end: the ConfigMaps do not hold the new root alone")
		}
		timed(append(way(true, restarts), on...)...)
		g.require(g.settledOn(old), "back from", until+": the ConfigMaps do not hold the old root alone")
	}
	s := t.end()
	g.whole(s)
	g.require(watched() == before, "workloads were restarted")
	o := g.meshca("verify", "--csr-proof")
	g.require(o.code == 0, "verify: exit", itoa(o.code)+":", o.brief())
	return s.String() + "; " + strings.Join(took, ", ")
}
