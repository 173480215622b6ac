package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// givenIstio is the folder of the state, and the images' tag, of the release that MESHCA_ISTIO names.
const givenIstio = "given"

// Any release: istiod and agents from what MESHCA_ISTIO names.
var (
	given = &mesh{name: "given", about: "istiod and proxies of the release that MESHCA_ISTIO names, both flags, 2 istiods", istio: givenIstio,
		helm: append([]string{"--set", "global.tag=" + givenIstio}, hot.helm...)}
	givenDefault = &mesh{name: "given-default-flags", about: "the same, Istio's default flags, 2 istiods, leaves of 2 minutes", istio: givenIstio,
		helm: append([]string{"--set", "global.tag=" + givenIstio}, renewing.helm...)}
)

// readsRootsSince is the release from which an agent reads the roots for its requests again (pull request 47959). istiods take a changed root without a
// restart from 1.20.0 on (pilot/pkg/bootstrap/istio_ca.go, handleEvent), so that both are there from this one on.
const readsRootsSince = "1.20.1"

var givenRows = []row{
	{name: "given-hot", about: "another release, both flags: hot-bundle where its istiod and agents can; where they cannot it is refused by name, and workloads follow in waves", mesh: given, changes: true, needs: []string{"rotate", "versions"}, limit: 25 * time.Minute, play: func(g *game) string {
		release := g.given()
		g.releases(release, release)
		b := g.ca("B")
		if !earlier(release, readsRootsSince) {
			before, t := g.pods(), startTally()
			o := g.meshca(g.rotate(b, "--trust-file-wait", "0", "--timeout", "20m", "-o", "json")...)
			return release + ": " + g.wentBy("hot-bundle", b, o, t.end(), before) + "; " + g.proven("B")
		}
		o := g.meshca(g.rotate(b, "--strategy", "hot-bundle")...)
		g.require(o.code == 2 && o.said("strategy hot-bundle", release), "hot-bundle is not refused: exit", itoa(o.code)+":", o.brief())
		// For a leaked key the last wave is not left to leaves of a day.
		return release + ": hot-bundle refused; " + g.inWaves(b, "bundle-by-restart", "--reason", "compromised") + "; " + g.proven("B")
	}},
	{name: "given-cross", about: "another release, default flags: cross-sign with the old root's key; leaves renew on their own, and only agents that never read new roots are restarted", mesh: givenDefault, changes: true, needs: []string{"rotate", "versions"}, limit: 25 * time.Minute, play: func(g *game) string {
		release := g.given()
		g.releases(release, release)
		b, key := g.ca("B"), started()+"/root-key.pem"
		if earlier(release, readsRootsSince) {
			return release + ": " + g.inWaves(b, "cross-sign", "--old-root-key", key) + "; " + g.proven("B")
		}
		before, t := g.pods(), startTally()
		o := g.meshca(g.rotate(b, "--old-root-key", key, "--trust-file-wait", "0", "--timeout", "20m", "-o", "json")...)
		return release + ": " + g.wentBy("cross-sign", b, o, t.end(), before) + "; " + g.proven("B")
	}},
	{name: "given-control", about: "another release: the root replaced in one step and istiod restarted", mesh: givenDefault, changes: true, limit: 6 * time.Minute, play: func(g *game) string {
		b := g.ca("B")
		t := startTally()
		g.inOneStep(b)
		g.settled(t, 150*time.Second)
		return g.given() + ": " + g.broken(t.end())
	}},
}

// given is the release that MESHCA_ISTIO's folder says it is of.
func (g *game) given() string {
	return strings.TrimSpace(read(os.Getenv("STATE"), givenIstio, "release"))
}

// wentBy is went, by this strategy.
func (g *game) wentBy(strategy, dir string, o outcome, s traffic, before string) string {
	g.decided(strategy, o)
	return g.went(dir, o, s, before)
}

// decided requires that a rotation was planned by this strategy.
func (g *game) decided(strategy string, o outcome) {
	all := events([]byte(o.out))
	i := slices.IndexFunc(all, func(t told) bool { return t.Plan != nil })
	g.require(i >= 0, "no plan:", o.brief())
	g.require(all[i].Plan.Strategy == strategy, "planned by", all[i].Plan.Strategy+", not", strategy+":", o.brief())
}

// inWaves rotates where workloads must be restarted, once their files follow (kubelet's sync is 10 s here). No request may fail.
func (g *game) inWaves(dir, strategy string, more ...string) string {
	var allow []string
	for _, ns := range namespaces {
		// An injector before 1.21 knows no "sleep" and strikes it out. A client that ends at once ends before its Envoy too.
		g.rolls(ns, "", `{"exec":{"command":["/bin/meshapp","pause"]}}`, "null")
		allow = append(allow, "--allow-restart", ns+"/server", "--allow-restart", ns+"/client")
	}
	before, t := g.pods(), startTally()
	o := g.meshca(g.rotate(dir, slices.Concat([]string{"--trust-file-wait", "30s", "--timeout", "20m", "-o", "json"}, more, allow)...)...)
	s := t.end()
	g.require(o.code == 0, "rotate: exit", itoa(o.code)+":", o.brief())
	g.decided(strategy, o)
	g.whole(s)
	g.require(g.pods() != before, "no workload was restarted")
	g.require(g.settledOn(read(dir, "root-cert.pem")), "the ConfigMaps do not hold the new root alone")
	return fmt.Sprintf("%s, %s, engine %s s, waits %s s, %s istiods restarted, %s pods replaced in waves", strategy, s, figure(o, "engineSeconds"), figure(o, "waitSeconds"), figure(o, "istiodRestarts"), figure(o, "workloadRestarts"))
}

// earlier reports whether a release is before another, by number.
func earlier(release, than string) bool {
	var a, b [3]int
	for _, r := range []struct {
		text string
		n    *[3]int
	}{{release, &a}, {than, &b}} {
		_, _ = fmt.Sscanf(r.text, "%d.%d.%d", &r.n[0], &r.n[1], &r.n[2])
	}
	return slices.Compare(a[:], b[:]) < 0
}
