package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Sealed copies of the CA, what one write back does, and what a rotation leaves to be read.
var keyRows = []row{
	{name: "keys-restore", about: "a sealed copy, a write back while both roots are trusted, and its refusal once that would be a swap", mesh: hot, changes: true, needs: []string{"backup", "restore", "status"}, limit: 5 * time.Minute, play: func(g *game) string {
		a, b := started(), g.ca("B")
		before, t := g.pods(), startTally()
		identity, recipient := age()
		key, copied := g.write("key.txt", identity+"\n"), filepath.Join(g.dir, "copy.age")
		all := ""
		expect := func(code int, words []string, args ...string) {
			o := g.meshca(args...)
			all += o.out + o.err
			g.require(o.code == code, args[0]+": exit", itoa(o.code)+", not", itoa(code)+":", o.brief())
			g.require(o.said(words...), args[0], "does not say", strings.Join(words, ", ")+":", o.brief())
		}
		restore := []string{"restore", "--sealed-file", copied, "--identity", key, "--confirm", "istio-system/cacerts"}
		expect(0, []string{"no rotation is under way"}, "status")
		expect(0, []string{"opened again"}, "backup", "--seal-to", recipient, "--identity", key, "--sealed-file", copied)
		expect(0, []string{"nothing differs"}, restore...)
		expect(0, nil, g.rotate(b, "--trust-file-wait", "0", "--until", "trust-new")...)
		expect(2, []string{"unfinished", "trust-new", "6 of 6 proxies"}, "status")
		expect(0, []string{"restored"}, restore...)
		g.until("only the old root in every namespace", time.Minute, func() bool { return g.roots() == read(a, "root-cert.pem") })
		expect(0, nil, "rotate", "--yes", "--trust-file-wait", "0")
		expect(0, []string{"done", "meshca-staged"}, "status")
		expect(2, []string{"refused", "--force"}, restore...)
		s := t.end()
		g.whole(s)
		g.require(g.pods() == before, "workloads were restarted")
		g.require(g.roots() == read(b, "root-cert.pem"), "the ConfigMaps do not hold the new root alone")
		trail := g.kubectl("-n", "istio-system", "get", "events", "--field-selector", "involvedObject.name=cacerts", "-o", "jsonpath={.items[*].reason}")
		for _, reason := range []string{"RotationBegins", "RotationWrites", "RotationGatePassed", "RotationStopped", "CARestored", "RotationDone"} {
			g.require(strings.Contains(trail, reason), "no event", reason+":", trail)
		}
		all += g.kubectl("get", "events,configmaps", "-A", "-o", "yaml")
		for _, dir := range []string{a, b} {
			line := strings.Split(read(dir, "ca-key.pem"), "\n")[5]
			g.require(!strings.Contains(all, line), "a key of", dir, "was printed, or is in an event or a ConfigMap")
		}
		return fmt.Sprintf("%s, %d events", s, len(strings.Fields(trail)))
	}},
}
