package plugin

import (
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// A new root is certified by the generation of the old one that is valid, and where
// there is none the hint is of that, by 'ca cross-sign' and by --old-root-key.
func TestCrossSignedByTheValidGeneration(t *testing.T) {
	now := time.Now()
	root := func(name string, at time.Time) *pki.Authority {
		ca, err := pki.NewRoot(pki.Request{Subject: pkix.Name{CommonName: name}, Now: at, Lifetime: 48 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return ca
	}
	ended := root("old", now.Add(-96*time.Hour))
	renewed, err := ended.RenewRoot(now, 100*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ended.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	keyFile := write("old-key.pem", key)
	fresh := root("new", now)
	for name, test := range map[string]struct {
		by   pki.Bundle
		new  *pki.Authority
		hint string // "" where it is signed
	}{
		"the ended first":  {pki.NewBundle(ended.Cert, renewed.Cert), fresh, ""},
		"the ended last":   {pki.NewBundle(renewed.Cert, ended.Cert), fresh, ""},
		"the ended alone":  {pki.NewBundle(ended.Cert), fresh, "nobody accepts what a root vouches for that has ended"},
		"one name":         {pki.NewBundle(renewed.Cert), root("old", now), "give the new root a name of its own"},
		"another's":        {pki.NewBundle(fresh.Cert), root("newer", now), "'kubectl meshca ca inspect' shows which certificate a key belongs to"},
		"an ended new one": {pki.NewBundle(renewed.Cert), root("new", now.Add(-96*time.Hour)), "and the new one a self-signed CA that has not expired"},
	} {
		t.Run(name, func(t *testing.T) {
			judge := func(way string, cross *pki.Certificate, err error) {
				t.Helper()
				code, hint := codeOf(err)
				if (err == nil) != (test.hint == "") || err != nil && (code != ExitFindings || !strings.Contains(hint, test.hint)) {
					t.Errorf("%s: exit %d, %v, hint %q", way, code, err, hint)
				}
				if err == nil && (!cross.SignedBy(renewed.Cert) || cross.X509.NotAfter.Before(now)) {
					t.Errorf("%s: valid until %s", way, cross.X509.NotAfter)
				}
			}
			flags := caFlags{oldRootKey: keyFile}
			s := &mesh.Snapshot{ControlPlanes: []mesh.ControlPlane{{CA: mesh.CASource{Root: test.by}}}}
			cross, err := flags.crossCert(s, test.new, now)
			judge("--old-root-key", cross, err)

			streams, _, out, _ := genericiooptions.NewTestIOStreams()
			o := caCrossSignOptions{root: write("new.pem", test.new.Cert.PEM()), by: write("old.pem", test.by.Raw), byKey: keyFile}
			cross = nil
			if err = o.run(streams); err == nil {
				printed, err := pki.ParseBundle(out.Bytes())
				if err != nil {
					t.Fatal(err)
				}
				cross = printed.Certs[0]
			}
			judge("ca cross-sign", cross, err)
		})
	}
}
