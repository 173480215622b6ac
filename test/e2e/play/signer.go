package main

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// sign writes the CA in dir into cacerts, with these roots, and waits until every istiod says that it has loaded it.
func (g *game) sign(dir, roots string) {
	istiods := g.podsOf("istio-system", "app=istiod")
	count := func() (n []int) {
		for _, p := range istiods {
			n = append(n, strings.Count(g.logs(p), "updated its key and certs accordingly"))
		}
		return n
	}
	before := count()
	g.script("setca.sh", dir, roots)
	g.until("loaded by every istiod", 90*time.Second, func() bool {
		for i, n := range count() {
			if n <= before[i] {
				return false
			}
		}
		return true
	})
}

// with copies the CA in dir, with another of its files as the chain.
func (g *game) with(dir, chain string) string {
	to := filepath.Join(g.dir, chain)
	if _, err := os.Stat(to); err == nil {
		return to
	}
	g.require(os.CopyFS(to, os.DirFS(dir)) == nil, "harness: cannot copy", dir)
	g.require(os.WriteFile(filepath.Join(to, "cert-chain.pem"), []byte(read(dir, chain)), 0o600) == nil, "harness: cannot write the chain")
	return to
}

// logs is what a pod has written: too much for the row's own log.
func (g *game) logs(p pod) string { return run(g.ctx, "", "kubectl", "-n", p.ns, "logs", p.name).out }
