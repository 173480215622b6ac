package main

import (
	"fmt"
	"strings"
	"time"
)

// A root that only expires is certified anew, with the key that it has.
var sameKeyRows = []row{
	{name: "same-key", about: "Istio's own root on default flags, certified anew in place: same key, same key identifier", mesh: selfSigned, changes: true, needs: []string{"rotate"}, limit: 10 * time.Minute, play: func(g *game) string {
		return g.sameKey("istio-ca-secret", "ca-cert.pem")
	}},
	{name: "same-key-plugged", about: "the root above a plugged intermediate, its key given from a file; and back from the end", mesh: renewing, changes: true, needs: []string{"rotate", "rollback"}, limit: 10 * time.Minute, play: func(g *game) string {
		there := g.sameKey("cacerts", "root-cert.pem", "--old-root-key", started()+"/root-key.pem")
		before, t := g.pods(), startTally()
		o := g.meshca("rollback", "--yes", "--trust-file-wait", "0", "--traffic-baseline", "2s", "--timeout", "8m")
		g.require(o.code == 0, "rollback: exit", itoa(o.code)+":", o.brief())
		g.whole(t.end())
		g.require(g.pods() == before, "workloads were restarted on the way back")
		g.require(g.settledOn(read(started(), "root-cert.pem")), "the ConfigMaps do not hold the old certificate alone")
		return fmt.Sprintf("%s; back in %.0f s", there, o.took.Seconds())
	}},
}

// sameKey renews the root that stands in an entry of a Secret.
func (g *game) sameKey(secret, entry string, more ...string) string {
	field := func(name string) string {
		return g.kubectl("-n", "istio-system", "get", "secret", secret, "-o", fmt.Sprintf("jsonpath={.data.%s}", strings.ReplaceAll(name, ".", `\.`)))
	}
	root := func() string {
		return g.pipe(g.pipe(field(entry), "base64", "-d"), "openssl", "x509", "-noout", "-subject", "-ext", "subjectKeyIdentifier")
	}
	uid := func() string {
		return g.kubectl("-n", "istio-system", "get", "secret", secret, "-o", "jsonpath={.metadata.uid}")
	}
	oldRoot, oldKey, oldName, oldUID := field(entry), field("ca-key.pem"), root(), uid()
	before, t := g.pods(), startTally()
	o := g.meshca(append([]string{"rotate", "--strategy", "same-key", "--yes", "--trust-file-wait", "0", "--traffic-baseline", "2s", "--timeout", "8m", "-o", "json"}, more...)...)
	time.Sleep(5 * time.Second) // what the end would break
	s := t.end()
	g.require(o.code == 0, "rotate: exit", itoa(o.code)+":", o.brief())
	g.whole(s)
	g.require(g.pods() == before, "workloads were restarted")
	g.require(field(entry) != oldRoot, "the root's certificate is the old one")
	g.require(field("ca-key.pem") == oldKey && uid() == oldUID, "the Secret was not changed in place, or its key is another")
	g.require(root() == oldName, "name or key identifier have changed: "+oldName+" -> "+root())
	g.require(g.settledOn(g.pipe(field(entry), "base64", "-d")), "the ConfigMaps do not hold the new certificate alone")
	v := g.meshca("verify", "--csr-proof")
	g.require(v.code == 0, "verify: exit", itoa(v.code)+":", v.brief())
	return fmt.Sprintf("%s, engine %s s, %s istiods restarted, no workload; %s", s, figure(o, "engineSeconds"), figure(o, "istiodRestarts"), strings.Join(strings.Fields(oldName), " "))
}
