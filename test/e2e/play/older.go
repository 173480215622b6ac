package main

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// The release before: istiod and agents of it, or agents of it alone, as in the middle of an upgrade.
var (
	older = &mesh{name: "older", about: "istiod 1.30 and its proxies, both flags, 2 istiods", istio: "older",
		helm: append([]string{"--set", "global.tag=older"}, hot.helm...)}
	olderDefault = &mesh{name: "older-default-flags", about: "istiod 1.30 and its proxies, Istio's default flags, 2 istiods, leaves of 2 minutes", istio: "older",
		helm: append([]string{"--set", "global.tag=older"}, renewing.helm...)}
	olderProxies = &mesh{name: "older-proxies", about: "proxies of 1.30 under istiod 1.31, both flags, 2 istiods",
		helm: append([]string{"--set", "global.tag=older", "--set", "image=e2e/pilot:1"}, hot.helm...)}
)

// olderRelease is what mesh/older/build.sh has the binaries say.
const olderRelease = "1.30.4-dev"

var olderRows = []row{
	{name: "older-hot", about: "istiod 1.30 and its proxies: hot-bundle; each is named with the release that it says itself", mesh: older, changes: true, needs: []string{"rotate", "versions"}, limit: 5 * time.Minute, play: func(g *game) string {
		g.releases(olderRelease, olderRelease)
		return g.rotatesWhole(g.ca("B")) + "; " + g.proven("B")
	}},
	{name: "older-proxies", about: "istiod 1.31 above proxies of 1.30: hot-bundle", mesh: olderProxies, changes: true, needs: []string{"rotate", "versions"}, limit: 5 * time.Minute, play: func(g *game) string {
		g.releases("", olderRelease)
		return g.rotatesWhole(g.ca("B")) + "; " + g.proven("B")
	}},
	{name: "older-cross", about: "istiod 1.30 and its proxies: cross-sign with the old root's key; leaves renew on their own", mesh: olderDefault, changes: true, needs: []string{"rotate", "versions"}, limit: 10 * time.Minute, play: func(g *game) string {
		g.releases(olderRelease, olderRelease)
		return g.rotatesWhole(g.ca("B"), "--old-root-key", started()+"/root-key.pem", "--timeout", "8m") + "; " + g.proven("B")
	}},
}

// proven requires that every proxy, istiod and ConfigMap holds that CA alone.
func (g *game) proven(ca string) string {
	g.require(g.settledOn(read(g.ca(ca), "root-cert.pem")), "the ConfigMaps do not hold the new root alone")
	v := g.meshca("verify", "--csr-proof")
	g.require(v.code == 0, "verify: exit", itoa(v.code)+":", v.brief())
	return "proven on every proxy and istiod"
}

// releases requires that versions says these releases, "" any, of every istiod and every proxy.
func (g *game) releases(istiod, proxies string) {
	o := g.meshca("versions", "-o", "json")
	var report struct {
		Items []struct{ Name, Subject, Version, From string }
	}
	g.require(json.Unmarshal([]byte(o.out), &report) == nil, "versions: no JSON:", o.brief())
	var seen []string
	for _, item := range report.Items {
		want := proxies
		if item.Subject == "istiod" {
			want = istiod
		}
		g.require(want == "" || item.Version == want, item.Name, "is called", item.Version, "from", item.From+", not", want)
		seen = append(seen, item.Subject)
	}
	slices.Sort(seen)
	g.require(len(seen) == 2+2*len(namespaces), "versions lists", strings.Join(seen, " "))
}
