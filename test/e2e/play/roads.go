package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cold is a mesh whose leaves live too long to be waited for.
var cold = &mesh{name: "cold", about: "Istio's default flags, 2 istiods, leaves of 24 h",
	helm: []string{"--set", "replicaCount=2", "--set-string", "env.ISTIO_MULTIROOT_MESH=false",
		"--set-string", "meshConfig.defaultConfig.proxyMetadata.PROXY_CONFIG_XDS_AGENT=false"}}

// Every other road.
var roadRows = []row{
	{name: "renewal-default-flags", about: "both roots for a while, on Istio's default flags: leaves renew on their own, no workload restarts", mesh: renewing, changes: true, needs: []string{"rotate"}, limit: 15 * time.Minute, play: func(g *game) string {
		b := g.ca("B")
		before, t := g.pods(), startTally()
		o := g.meshca(g.rotate(b, "--strategy", "bundle-by-renewal", "--trust-file-wait", "0", "--timeout", "13m", "-o", "json")...)
		return g.went(b, o, t.end(), before)
	}},
	{name: "waves-mixed", about: "two workloads off the push: they alone are restarted, in waves", mesh: hot, changes: true, needs: []string{"rotate"}, limit: 12 * time.Minute, play: func(g *game) string {
		g.offPush("c")
		b := g.ca("B")
		before, t := podsIn(g, "a")+podsIn(g, "b"), startTally()
		other := podsIn(g, "c")
		o := g.meshca(g.rotate(b, "--strategy", "bundle-by-restart", "--reason", "compromised", "--trust-file-wait", "0", "--timeout", "10m", "-o", "json",
			"--allow-restart", "c/server", "--allow-restart", "c/client")...)
		s := t.end()
		g.require(o.code == 0, "rotate: exit", itoa(o.code)+":", o.brief())
		g.whole(s)
		g.require(podsIn(g, "a")+podsIn(g, "b") == before, "workloads were restarted that get pushes")
		g.require(podsIn(g, "c") != other, "the workloads off the push were not restarted")
		g.require(g.settledOn(read(b, "root-cert.pem")), "the ConfigMaps do not hold the new root alone")
		n := 3 * 2 // trust-new, sign-new and distrust-old, of two workloads
		g.require(figure(o, "workloadRestarts") == itoa(n), figure(o, "workloadRestarts"), "pods replaced, not", itoa(n))
		return fmt.Sprintf("%s, engine %s s, %d pods replaced, all of the two workloads off the push", s, figure(o, "engineSeconds"), n)
	}},
	{name: "waves-cold", about: "no proxy gets pushes and leaves live for a day: every workload is restarted, in waves, once for each phase that needs it", mesh: cold, changes: true, needs: []string{"rotate"}, limit: 15 * time.Minute, play: func(g *game) string {
		var allow []string
		for _, ns := range namespaces {
			g.offPush(ns)
			allow = append(allow, "--allow-restart", ns+"/server", "--allow-restart", ns+"/client")
		}
		b := g.ca("B")
		t := startTally()
		o := g.meshca(g.rotate(b, append(allow, "--strategy", "bundle-by-restart", "--reason", "compromised", "--trust-file-wait", "0", "--timeout", "13m", "-o", "json")...)...)
		s := t.end()
		g.require(o.code == 0, "rotate: exit", itoa(o.code)+":", o.brief())
		g.whole(s)
		g.holds(b, true)
		n := 3 * 2 * len(namespaces) // trust-new, sign-new and distrust-old, of two workloads each
		g.require(figure(o, "workloadRestarts") == itoa(n), figure(o, "workloadRestarts"), "pods replaced, not", itoa(n))
		return fmt.Sprintf("%s, engine %s s, %d pods replaced: three times each", s, figure(o, "engineSeconds"), n)
	}},
	{name: "adopt-self-signed", about: "Istio's own root on default flags: moved to cacerts, cross-signed with its own key, replaced", mesh: selfSigned, changes: true, needs: []string{"rotate"}, limit: 15 * time.Minute, play: func(g *game) string {
		b := g.ca("B")
		before, t := g.pods(), startTally()
		o := g.meshca(g.rotate(b, "--trust-file-wait", "0", "--timeout", "13m", "-o", "json")...)
		return g.went(b, o, t.end(), before)
	}},
	{name: "intermediate", about: "another intermediate under the same root", mesh: hot, changes: true, needs: []string{"rotate", "ca"}, limit: 5 * time.Minute, play: func(g *game) string {
		a, b := started(), filepath.Join(g.dir, "A2")
		o := g.meshca("ca", "new", "--out", b, "--by", a+"/root-cert.pem", "--by-key", a+"/root-key.pem", "--subject-intermediate", "O=e2e,CN=intermediate A2")
		g.require(o.code == 0, "ca new:", o.brief())
		before, t := g.pods(), startTally()
		o = g.meshca(g.rotate(b, "--trust-file-wait", "0", "-o", "json")...)
		return g.went(a, o, t.end(), before)
	}},
}

// went requires that a rotation ended with the root in dir alone, no request failed and no workload was restarted.
func (g *game) went(dir string, o outcome, s traffic, before string) string {
	g.require(o.code == 0, "rotate: exit", itoa(o.code)+":", o.brief())
	g.whole(s)
	g.require(g.pods() == before, "workloads were restarted")
	g.require(g.settledOn(read(dir, "root-cert.pem")), "the ConfigMaps do not hold the root that they should, alone")
	return fmt.Sprintf("%s, engine %s s, %s istiods restarted, no workload", s, figure(o, "engineSeconds"), figure(o, "istiodRestarts"))
}

// offPush takes a namespace's workloads off the push: one that is restarted serves on meanwhile.
func (g *game) offPush(ns string) {
	g.rolls(ns, `,\"proxyMetadata\":{\"PROXY_CONFIG_XDS_AGENT\":\"false\"}`, `{"sleep":{"seconds":10}}`, `{"sleep":{"seconds":4}}`)
}

// rolls has a namespace's workloads serve on while they are restarted, with more of a proxy's configuration, and what holds their apps back at their end.
func (g *game) rolls(ns, more, server, client string) {
	// As must be with any workload that is ever rolled: what a rollout itself fails is no CA's. A server outlives its Envoy, which serves
	// until every client knows that it goes; a client ends before its Envoy does.
	for _, d := range []struct {
		name, hold string
	}{{"server", server}, {"client", client}} {
		g.kubectl("-n", ns, "patch", "deploy", d.name, "-p", fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"proxy.istio.io/config":"{\"terminationDrainDuration\":\"8s\",\"holdApplicationUntilProxyStarts\":true%s}"}},"spec":{"terminationGracePeriodSeconds":15,"containers":[{"name":"app","lifecycle":{"preStop":%s}}]}}}}`, more, d.hold))
		g.kubectl("-n", ns, "rollout", "status", "deploy/"+d.name, "--timeout=120s")
	}
	g.require(quiet(g.ctx) == nil, "harness: the clients' requests do not settle")
}

// figure is one of those that the last event of a rotation has.
func figure(o outcome, name string) string {
	_, rest, found := strings.Cut(o.out[strings.LastIndex(o.out, `"figures"`)+1:], `"`+name+`":`)
	if !found {
		return "?"
	}
	end := strings.IndexAny(rest, ",}")
	if n, err := strconv.ParseFloat(rest[:max(end, 0)], 64); err == nil {
		return strconv.FormatFloat(n, 'f', -1, 64)[:min(5, len(strconv.FormatFloat(n, 'f', -1, 64)))]
	}
	return "?"
}

// podsIn are the pods of one namespace and how often their containers have started.
func podsIn(g *game, ns string) string {
	return g.kubectl("-n", ns, "get", "pods", "-o", "jsonpath={range .items[*]}{.metadata.uid} {end}")
}
