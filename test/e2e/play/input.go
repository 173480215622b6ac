package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Bad input and missing means: the exit code says which, one line says what, and cacerts is the very object that it was.
var inputRows = []row{
	refused("rotate-wrong-key", "the key is another certificate's", []int{2}, "key", func(g *game) []string {
		return g.swap(g.rotate(g.ca("B")), "--ca-key", g.ca("C")+"/ca-key.pem")
	}),
	refused("rotate-half-a-ca", "a root without intermediate and key", []int{64}, "--ca-key", func(g *game) []string {
		return []string{"rotate", "--root", g.ca("B") + "/root-cert.pem", "--yes"}
	}),
	refused("rotate-crlf", "CRLF in the root's PEM", []int{2}, "CR", func(g *game) []string {
		return g.swap(g.rotate(g.ca("B")), "--root", g.write("root.pem", strings.ReplaceAll(read(g.ca("B"), "root-cert.pem"), "\n", "\r\n")))
	}),
	refused("rotate-expired", "an intermediate that has expired", []int{2}, "expired", func(g *game) []string {
		dir := filepath.Join(g.dir, "expired")
		g.require(os.CopyFS(dir, os.DirFS(g.ca("B"))) == nil, "harness: cannot copy the CA")
		g.must("openssl", "req", "-new", "-key", dir+"/ca-key.pem", "-subj", "/O=e2e/CN=intermediate B", "-out", dir+"/ca.csr")
		g.must("openssl", "x509", "-req", "-in", dir+"/ca.csr", "-CA", dir+"/root-cert.pem", "-CAkey", dir+"/root-key.pem", "-CAcreateserial", "-days", "-1",
			"-out", dir+"/ca-cert.pem", "-extfile", g.write("ext", "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"))
		g.require(os.WriteFile(dir+"/cert-chain.pem", []byte(read(dir, "ca-cert.pem")+read(dir, "root-cert.pem")), 0o600) == nil, "harness: cannot write the chain")
		return g.rotate(dir)
	}),
	refused("rotate-no-permission", "a user without any role", []int{1}, "forbidden", func(g *game) []string {
		return g.rotate(g.ca("B"), "--as", "nobody")
	}),
	refused("rotate-unreachable", "an API server that is not there", []int{1}, "refused", func(g *game) []string {
		return g.rotate(g.ca("B"), "--server", "https://127.0.0.1:1")
	}),
}

var emptyRows = []row{
	{name: "rotate-no-istio", about: "a cluster without Istio", mesh: none, needs: []string{"rotate"}, play: func(g *game) string {
		o := g.meshca(g.rotate(g.ca("B"))...)
		g.require(o.code == 1 || o.code == 2, "exit", itoa(o.code)+":", o.brief())
		g.require(o.said("istiod"), "it does not say what is missing:", o.brief())
		return fmt.Sprintf("exit %d: %s", o.code, o.brief())
	}},
}

func refused(name, about string, codes []int, word string, args func(*game) []string) row {
	return row{name: name, about: about, mesh: hot, needs: []string{"rotate"}, play: func(g *game) string {
		line, before := args(g), g.version()
		o := g.meshca(line...)
		g.require(slices.Contains(codes, o.code), "exit", itoa(o.code), "is not", fmt.Sprint(codes)+":", o.brief())
		g.require(strings.Contains(strings.ToLower(o.err), strings.ToLower(word)), "it does not say", word+":", o.brief())
		g.require(g.version() == before, "cacerts was written")
		return fmt.Sprintf("exit %d: %s", o.code, o.brief())
	}}
}

// swap puts another value behind a flag.
func (g *game) swap(args []string, flag, value string) []string {
	i := slices.Index(args, flag)
	g.require(i >= 0, "harness: no", flag)
	args[i+1] = value
	return args
}
