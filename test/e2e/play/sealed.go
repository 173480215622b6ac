package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A new CA that is made by the product: its root's key leaves no trace but in the sealed file.
var sealedRows = []row{
	{name: "sealed-hot", about: "a new CA made here and sealed, by push", mesh: hot, changes: true, needs: []string{"rotate"}, limit: 4 * time.Minute, play: func(g *game) string {
		return g.sealed()
	}},
	{name: "sealed-cross", about: "a new CA made here and sealed, cross-signed", mesh: brief, changes: true, needs: []string{"rotate"}, limit: 8 * time.Minute, play: func(g *game) string {
		return g.sealed("--old-root-key", started()+"/root-key.pem")
	}},
	{name: "sealed-adopt", about: "Istio's own root on default flags: adopted, and replaced by a new CA made here and sealed", mesh: selfSigned, long: true, changes: true, needs: []string{"rotate"}, limit: 10 * time.Minute, play: func(g *game) string {
		return g.sealed()
	}},
}

func (g *game) sealed(more ...string) string {
	identity, recipient := age()
	file, old := filepath.Join(g.dir, "new.age"), g.roots()
	before, t := g.pods(), startTally()
	o := g.meshca(append([]string{"rotate", "--new-ca", "--seal-to", recipient, "--identity", g.write("identity.txt", identity+"\n"), "--sealed-file", file, "--yes",
		"--traffic-baseline", "2s", "--trust-file-wait", "0", "--timeout", "8m", "-o", "json"}, more...)...)
	s := t.end()
	g.require(o.code == 0, "rotate: exit", itoa(o.code)+":", o.brief())
	g.whole(s)
	g.require(g.pods() == before, "workloads were restarted")
	root := g.roots()
	g.require(strings.Count(root, "BEGIN CERTIFICATE") == 1 && root != old, "the ConfigMaps do not hold one new root")
	v := g.meshca("verify", "--csr-proof", "--root", g.write("root.pem", root))
	g.require(v.code == 0, "verify: exit", itoa(v.code)+":", v.brief())
	info, err := os.Stat(file)
	g.require(err == nil && info.Mode().Perm() == 0o600, "the sealed file is not its owner's alone")
	g.require(strings.HasPrefix(read(file), "-----BEGIN AGE ENCRYPTED FILE-----") && !strings.Contains(read(file)+o.out+o.err, "PRIVATE KEY"), "a key in clear")
	// Whoever has every Secret of the cluster has no key of the root.
	public := g.pipe(root, "openssl", "x509", "-noout", "-pubkey")
	for line := range strings.Lines(g.kubectl("get", "secrets", "-A", "-o", `go-template={{range .items}}{{range $k, $v := .data}}{{$k}} {{$v}}{{"\n"}}{{end}}{{end}}`)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if key := decoded(value); strings.Contains(key, "PRIVATE KEY") {
			g.require(g.pipe(key, "openssl", "pkey", "-pubout") != public, "the root's key is in the cluster:", name)
		}
	}
	return fmt.Sprintf("%s, engine %s s, sealed file of %d bytes, no key of the root in the cluster", s, figure(o, "engineSeconds"), info.Size())
}

func decoded(text string) string {
	raw, _ := base64.StdEncoding.DecodeString(text)
	return string(raw)
}
