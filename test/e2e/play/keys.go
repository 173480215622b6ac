package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
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
		g.require(g.settledOn(read(b, "root-cert.pem")), "the ConfigMaps do not hold the new root alone")
		trail := g.kubectl("-n", "istio-system", "get", "events", "--field-selector", "involvedObject.name=cacerts", "-o", "jsonpath={.items[*].reason}")
		for _, reason := range []string{"RotationBegins", "RotationWrites", "RotationGatePassed", "RotationStopped", "CARestored", "RotationDone"} {
			g.require(strings.Contains(trail, reason), "no event", reason+":", trail)
		}
		all += g.kubectl("get", "events,configmaps", "-A", "-o", "yaml")
		sent, requests := g.audited()
		for _, dir := range []string{a, b} {
			for _, piece := range pieces(read(dir, "ca-key.pem")) {
				g.require(!strings.Contains(all, piece), "a key of", dir, "was printed, or is in an event or a ConfigMap")
				g.require(!strings.Contains(sent, piece), "a key of", dir, "is in the API server's audit log, outside the data of a Secret")
			}
		}
		return fmt.Sprintf("%s, %d events; no key in %d requests", s, len(strings.Fields(trail)), requests)
	}},
}

// pieces are what a PEM key would be known by: a line of it, and that of its base64, at any offset.
func pieces(key string) []string {
	lines := strings.Split(strings.TrimSpace(key), "\n")
	all := []string{lines[len(lines)/2]}
	for offset := range 3 {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(" ", offset) + key))
		all = append(all, text[len(text)/2:len(text)/2+60])
	}
	return all
}

// audited is what the API server has logged of the product's requests, with both bodies, but for the data of Secrets, where keys
// belong, and the annotation in which kubectl leaves them.
func (g *game) audited() (log string, requests int) {
	var kept strings.Builder
	for line := range strings.Lines(read(os.Getenv("STATE"), "audit.log")) {
		var event map[string]any
		if json.Unmarshal([]byte(line), &event) != nil { // the last line may be half written
			continue
		}
		if agent, _ := event["userAgent"].(string); !strings.HasPrefix(agent, "kubectl-meshca/") {
			continue
		}
		requests++
		for _, body := range []string{"requestObject", "responseObject"} {
			object, _ := event[body].(map[string]any)
			if object["kind"] != "Secret" {
				continue
			}
			delete(object, "data")
			if metadata, ok := object["metadata"].(map[string]any); ok {
				if notes, ok := metadata["annotations"].(map[string]any); ok {
					delete(notes, "kubectl.kubernetes.io/last-applied-configuration")
				}
			}
		}
		raw, err := json.Marshal(event)
		g.require(err == nil, "harness: an audit event that cannot be written")
		kept.Write(raw)
	}
	g.require(requests > 20, "harness: only", itoa(requests), "requests of the product in the audit log")
	return kept.String(), requests
}
