package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // G505: the key identifier of older releases
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// aging is a self-signed mesh whose root an istiod of 1.28.7 or before has made, and whose istiod looks soon whether to renew it.
var aging = &mesh{name: "aging", about: "Istio's default flags, its own root of an older release with a tenth of its life left, 1 istiod that looks after 5 minutes, leaves of 2 minutes", aged: true,
	helm: append([]string{"--set-string", "env.CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL=5m", "--set-string", "env.CITADEL_ENABLE_JITTER_FOR_ROOT_CERT_ROTATOR=false"}, selfSigned.helm...)}

// An istiod renews its root itself, and names its key as its own release does.
var agingRows = []row{
	{name: "control-renews-itself", about: "istiod renews a root of an older release itself: check has said that this breaks the mesh", mesh: aging, long: true, changes: true, needs: []string{"check"}, unrehearsed: "nothing is rotated", limit: 12 * time.Minute, play: func(g *game) string {
		o := g.meshca("check", "-o", "json")
		g.require(o.code == 2 && o.said("istiod-renews-root-key-id"), "check: exit", itoa(o.code)+":", o.brief())
		old, id, t := g.ownRoot(), g.ownKeyID(), startTally()
		g.until("the root is renewed", 7*time.Minute, func() bool { return g.ownRoot() != old })
		g.settled(t, 3*time.Minute)
		s := t.end()
		g.require(g.ownKeyID() != id, "the renewed root has the key identifier of before:", id)
		return g.broken(s)
	}},
	{name: "renews-itself-first", about: "the same root certified anew by the product before istiod does: key identifier kept, and istiod has nothing to renew", mesh: aging, long: true, changes: true, needs: []string{"check", "rotate"}, limit: 15 * time.Minute, play: func(g *game) string {
		t := startTally()
		detail := g.sameKey("istio-ca-secret", "ca-cert.pem")
		root := g.ownRoot()
		o := g.meshca("check", "-o", "json", "--fail-on", "error")
		g.require(o.code == 0, "check: exit", itoa(o.code)+":", o.brief())
		g.until("istiod has looked", 8*time.Minute, func() bool {
			return strings.Contains(g.logs(g.podsOf("istio-system", "app=istiod")[0]), "Root cert is not about to expire")
		})
		s := t.end()
		g.whole(s)
		g.require(g.ownRoot() == root, "istiod has renewed the root all the same")
		return detail + "; istiod has looked since, and left it: " + s.String()
	}},
}

// ownRoot is istiod's own, as its Secret holds it.
func (g *game) ownRoot() string {
	return g.kubectl("-n", "istio-system", "get", "secret", "istio-ca-secret", "-o", `jsonpath={.data.ca-cert\.pem}`)
}

func (g *game) ownKeyID() string {
	return g.pipe(g.pipe(g.ownRoot(), "base64", "-d"), "openssl", "x509", "-noout", "-ext", "subjectKeyIdentifier")
}

func (f *field) own() string { return filepath.Join(f.state, "ca", "own") }

// age makes istiod's own root as releases before 1.28.8 did (security/pkg/pki/util/generate_cert.go; Go before 1.25 names the key by SHA-1), nine years ago.
func (f *field) age(now time.Time) error {
	const year = 365 * 24 * time.Hour
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	id := sha1.Sum(x509.MarshalPKCS1PublicKey(&key.PublicKey)) //nolint:gosec // G401: see the import
	template := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{Organization: []string{"cluster.local"}}, NotBefore: now.Add(-9 * year), NotAfter: now.Add(year),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true, SubjectKeyId: id[:], AuthorityKeyId: id[:]}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.own(), 0o700); err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{"ca-cert.pem": {Type: "CERTIFICATE", Bytes: der}, "ca-key.pem": {Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}} {
		if err := os.WriteFile(filepath.Join(f.own(), name), pem.EncodeToMemory(block), 0o600); err != nil {
			return fmt.Errorf("istiod's own root: %w", err)
		}
	}
	return nil
}
