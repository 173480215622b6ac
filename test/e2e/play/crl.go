package main

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// CRLs, of which istiod takes none back while it runs: out of the CA Secret is not out of the proxies.
var crlRows = []row{
	{name: "crl", about: "a CRL: refused while the CA Secret has it, and while proxies keep what was taken out of it; once istiod was restarted the rotation goes through", mesh: hot, changes: true, needs: []string{"rotate"}, limit: 10 * time.Minute, play: func(g *game) string {
		b := g.ca("B")
		t := startTally()
		g.inForce()
		o := g.meshca("verify")
		g.require(o.code == 0, "with a CRL of both CAs the mesh is not proven:", o.brief())
		g.refusesCRL(b, "ca-crl.pem is present")
		g.takeOut()
		g.refusesCRL(b, "a CRL is in force")
		g.kubectl("-n", "istio-system", "rollout", "restart", "deploy/istiod")
		g.kubectl("-n", "istio-system", "rollout", "status", "deploy/istiod", "--timeout=120s")
		g.until("no proxy has a CRL", 4*time.Minute, func() bool { o := g.meshca("check", "-o", "json"); return !o.told("crl") && !o.told("crl-left") })
		g.whole(t.end())
		return g.rotatesWhole(b)
	}},
	{name: "control-crl", about: "the CRL taken out of the CA Secret alone, and the root replaced by hand by push", mesh: hot, changes: true, limit: 8 * time.Minute, play: func(g *game) string {
		a, b := started(), g.ca("B")
		g.inForce()
		g.takeOut()
		t := startTally()
		g.byHand(a, b)
		g.within(time.Minute, func() bool { return t.sum().failed > 0 })
		return g.broken(t.end())
	}},
}

// told reports whether a check has a finding of this ID.
func (o outcome) told(id string) bool { return o.said("\"id\": \"" + id + "\"") }

// inForce has istiod hand out a CRL of root and intermediate each, in which nobody stands, and waits until proxies judge by it.
func (g *game) inForce() {
	var text []byte
	for _, name := range []string{"root", "ca"} {
		text = append(text, g.crlOf(started()+"/"+name+"-cert.pem", started()+"/"+name+"-key.pem")...)
	}
	g.patchCRL(`"` + base64.StdEncoding.EncodeToString(text) + `"`)
	g.until("proxies judge by the CRL", 4*time.Minute, func() bool { return g.meshca("check", "-o", "json").told("crl") })
}

// takeOut takes it out of the CA Secret, and waits until check says that proxies have it all the same.
func (g *game) takeOut() {
	g.patchCRL("null")
	g.until("the CRL is left behind", time.Minute, func() bool { return g.meshca("check", "-o", "json").told("crl-left") })
}

func (g *game) patchCRL(value string) {
	g.kubectl("-n", "istio-system", "patch", "secret", "cacerts", "--type=merge", "-p", `{"data":{"ca-crl.pem":`+value+`}}`)
	g.kubectl("-n", "istio-system", "annotate", "--overwrite", "pod", "-l", "app=istiod", "nudge="+time.Now().Format("150405.000000"))
}

func (g *game) refusesCRL(b, why string) {
	before := g.version()
	o := g.meshca(g.rotate(b)...)
	g.require(o.code == 2 && o.said(why), "rotate: exit", itoa(o.code), "and it does not say", why+":", o.brief())
	g.require(g.version() == before, "cacerts was written")
}

// crlOf is an empty list of an issuer's.
func (g *game) crlOf(cert, key string) []byte {
	der := func(file string) []byte {
		block, _ := pem.Decode([]byte(read(file)))
		g.require(block != nil, "harness: no PEM in", file)
		return block.Bytes
	}
	issuer, err := x509.ParseCertificate(der(cert))
	g.require(err == nil, "harness:", cert, fmt.Sprint(err))
	signer, err := x509.ParsePKCS8PrivateKey(der(key))
	g.require(err == nil, "harness:", key, fmt.Sprint(err))
	own, ok := signer.(crypto.Signer)
	g.require(ok, "harness: no signer in", key)
	now := time.Now()
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(24 * time.Hour)}, issuer, own)
	g.require(err == nil, "harness: signing a CRL:", fmt.Sprint(err))
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list})
}
