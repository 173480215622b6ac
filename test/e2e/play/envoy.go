package main

import (
	"encoding/json"
	"fmt"
	"strings"
)

// What a reading of the proxies says, and must not say.
var envoyRows = []row{
	{name: "envoy-all-loaded", about: "every live proxy is read, has the root, and its live contexts confirm the leaf", mesh: hot, smoke: true, needs: []string{"envoy"}, play: func(g *game) string {
		o, n := g.envoy(func(i item) bool { return i.State == "loaded" && i.LeafConfirmed }, "--root", started()+"/root-cert.pem")
		g.require(o.code == 0 && n == 6, fmt.Sprintf("exit %d, %d of 6 proxies loaded and confirmed", o.code, n))
		return "6 of 6 proxies loaded and confirmed"
	}},
	{name: "envoy-foreign-root", about: "a root that nobody has loaded is missing on each of them", mesh: hot, smoke: true, needs: []string{"envoy"}, play: func(g *game) string {
		o, n := g.envoy(func(i item) bool { return i.State == "missing" }, "--root", g.ca("B")+"/root-cert.pem")
		g.require(o.code == 2 && n == 6, fmt.Sprintf("exit %d, %d of 6 proxies lack it", o.code, n))
		return "exit 2, 6 of 6 proxies lack it"
	}},
	{name: "envoy-unreadable", about: "a proxy that does not answer is unknown, by name, and unknown is not yes", mesh: hot, smoke: true, needs: []string{"envoy"}, play: func(g *game) string {
		p, remove := g.idle("b")
		defer remove()
		thaw := g.freeze(p, "envoy")
		defer thaw()
		o := g.meshca("envoy", "--root", started()+"/root-cert.pem", "--proxy-timeout", "3s")
		g.require(o.code == 2 && o.said("1 of 7 proxies are not proven: "+p.String()+" (unreadable)"), "exit", itoa(o.code)+":", o.brief())
		return "exit 2, " + o.brief()
	}},
	{name: "envoy-may-not-list", about: "without permission to list pods nothing is concluded", mesh: hot, smoke: true, needs: []string{"envoy"}, play: func(g *game) string {
		o := g.meshca("envoy", "--as", "nobody", "-o", "json")
		g.require(o.code == 1 && o.out == "" && o.said(`cannot list resource "pods"`), "exit", itoa(o.code)+":", o.brief())
		return "exit 1, the verb and the resource named"
	}},
	{name: "envoy-least-role", about: "list on pods and create on pods/portforward are enough; one of them is not", mesh: hot, smoke: true, needs: []string{"envoy"}, play: func(g *game) string {
		g.kubectl("create", "clusterrole", "e2e-list", "--verb", "list", "--resource", "pods")
		g.kubectl("create", "clusterrolebinding", "e2e-list", "--clusterrole", "e2e-list", "--user", "reader")
		defer g.kubectl("delete", "clusterrole,clusterrolebinding", "e2e-list")
		refused := func(i item) bool {
			return i.State == "unreadable" && strings.Contains(i.Reason, `cannot create resource "pods/portforward"`)
		}
		o, n := g.envoy(refused, "--as", "reader", "--root", started()+"/root-cert.pem")
		g.require(o.code == 2 && n == 6, fmt.Sprintf("without forwarding: exit %d, %d of 6 unreadable for want of pods/portforward", o.code, n))
		// "create" alone: where the API server wants "get" for a WebSocket, SPDY is the way.
		g.kubectl("create", "clusterrole", "e2e-forward", "--verb", "create", "--resource", "pods/portforward")
		g.kubectl("create", "clusterrolebinding", "e2e-forward", "--clusterrole", "e2e-forward", "--user", "reader")
		defer g.kubectl("delete", "clusterrole,clusterrolebinding", "e2e-forward")
		o = g.meshca("envoy", "--as", "reader", "--root", started()+"/root-cert.pem")
		g.require(o.code == 0, "exit", itoa(o.code)+":", o.brief())
		return "exit 2 naming pods/portforward on 6 of 6, exit 0 with both"
	}},
}

type item struct {
	State, Reason string
	LeafConfirmed bool `json:"leafConfirmed"`
}

func (g *game) envoy(is func(item) bool, args ...string) (outcome, int) {
	o := g.meshca(append([]string{"envoy", "-o", "json"}, args...)...)
	var report struct{ Items []item }
	g.require(json.Unmarshal([]byte(o.out), &report) == nil, "exit", itoa(o.code)+", no JSON:", o.brief())
	n := 0
	for _, i := range report.Items {
		if is(i) {
			n++
		}
	}
	return o, n
}
