package plugin

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

var clock = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

const identity = "spiffe://cluster.local/ns/a/sa/default"

func certificate(t testing.TB, name string, serial int64) *pki.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uri, err := url.Parse(identity)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, URIs: []*url.URL{uri},
		NotBefore: clock.Add(-time.Hour), NotAfter: clock.Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pki.NewCertificate(der)
}

func TestVerdicts(t *testing.T) {
	leaf, oldRoot, newRoot := certificate(t, "leaf", 255), certificate(t, "old", 1), certificate(t, "new", 2)
	want := pki.NewBundle(newRoot)
	loaded := func(serial string, roots ...*pki.Certificate) mesh.Proxy {
		return mesh.Proxy{Namespace: "a", Name: "p", Loaded: &proxy.Loaded{
			Evidence:   proxy.EvidenceConfigDump,
			Identities: []proxy.Identity{{SPIFFE: identity, Chain: []*pki.Certificate{leaf}, Roots: roots}},
			Contexts:   []proxy.Context{{SPIFFE: identity, LeafSerial: serial}},
		}}
	}
	ztunnel := func(identities ...proxy.Identity) mesh.Proxy {
		return mesh.Proxy{Namespace: "istio-system", Name: "ztunnel", Kind: mesh.Ztunnel, Loaded: &proxy.Loaded{Evidence: proxy.EvidenceZtunnelDump, Identities: identities}}
	}
	spire := loaded("ff", oldRoot, newRoot)
	spire.Loaded.Identities[0].Domains = []pki.Domain{{Name: "cluster.local", Roots: []*pki.Certificate{oldRoot}}, {Name: "west.local", Roots: []*pki.Certificate{newRoot}}}
	of := func(state string, roots ...*pki.Certificate) proxy.Identity {
		return proxy.Identity{SPIFFE: identity, Chain: []*pki.Certificate{leaf}, Roots: roots, State: state}
	}
	for name, test := range map[string]struct {
		proxy     mesh.Proxy
		want      pki.Bundle
		now       time.Time
		state     envoyState
		confirmed bool
		code      int
	}{
		"has the new root":              {loaded("ff", oldRoot, newRoot), want, clock, stateLoaded, true, ExitOK},
		"has only the old root":         {loaded("ff", oldRoot), want, clock, stateMissing, true, ExitFindings},
		"has one of two":                {loaded("ff", newRoot), pki.NewBundle(newRoot, oldRoot), clock, stateMissing, true, ExitFindings},
		"contexts use another leaf":     {loaded("fe", newRoot), want, clock, stateSwapping, false, ExitFindings},
		"expired":                       {loaded("ff", newRoot), want, clock.Add(2 * time.Hour), stateExpired, true, ExitFindings},
		"not yet valid":                 {loaded("ff", newRoot), want, clock.Add(-2 * time.Hour), stateExpired, true, ExitFindings},
		"unreadable":                    {mesh.Proxy{Error: "refused"}, want, clock, stateUnreadable, false, ExitFindings},
		"unreadable, no root asked for": {mesh.Proxy{Error: "refused"}, pki.Bundle{}, clock, stateUnreadable, false, ExitFindings},
		"never read":                    {mesh.Proxy{}, want, clock, stateUnreadable, false, ExitFindings},
		"loaded without identities":     {mesh.Proxy{Loaded: &proxy.Loaded{}}, want, clock, stateUnreadable, false, ExitFindings},
		"a ztunnel, all of it":          {ztunnel(of("", newRoot), of("", oldRoot, newRoot)), want, clock, stateLoaded, false, ExitOK},
		"a ztunnel, one behind":         {ztunnel(of("", newRoot), of("", oldRoot)), want, clock, stateMissing, false, ExitFindings},
		"a ztunnel, one unusable":       {ztunnel(of("", newRoot), of("Unavailable: no", newRoot)), want, clock, stateUnreadable, false, ExitFindings},
		"a ztunnel, one without a leaf": {ztunnel(of("", newRoot), proxy.Identity{SPIFFE: identity}), want, clock, stateUnreadable, false, ExitFindings},
		"a ztunnel that serves nobody":  {ztunnel(), want, clock, stateRead, false, ExitOK},
		"for another trust domain":      {spire, want, clock, stateMissing, true, ExitFindings},
		"for its own trust domain":      {spire, pki.NewBundle(oldRoot), clock, stateLoaded, true, ExitOK},
		"no root asked for":             {loaded("ff", oldRoot), pki.Bundle{}, clock, stateRead, true, ExitOK},
	} {
		t.Run(name, func(t *testing.T) {
			report := newEnvoyReport([]mesh.Proxy{test.proxy}, test.want, test.now)
			item := report.Items[0]
			if item.State != test.state || item.LeafConfirmed != test.confirmed {
				t.Errorf("%s (%s), confirmed %t", item.State, item.Reason, item.LeafConfirmed)
			}
			if code, _ := codeOf(report.verdict()); code != test.code {
				t.Errorf("exit %d, want %d", code, test.code)
			}
		})
	}
	if code, _ := codeOf(newEnvoyReport(nil, want, clock).verdict()); code != ExitFindings {
		t.Errorf("an empty mesh passed: exit %d", code)
	}
}

func TestTableEscapesWhatTheClusterSays(t *testing.T) {
	evil := certificate(t, "\x1b[2Jroot\nother\trow", 1)
	p := mesh.Proxy{Namespace: "a", Name: "p", Error: "\x1b]0;title\x07",
		Loaded: &proxy.Loaded{Identities: []proxy.Identity{{Chain: []*pki.Certificate{evil}, Roots: []*pki.Certificate{evil}}}}}
	for _, format := range outputs() {
		var out bytes.Buffer
		if err := printResult(&out, format, newEnvoyReport([]mesh.Proxy{p, {Namespace: "b", Error: p.Error}}, pki.Bundle{}, clock)); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(out.String(), "\x1b\x07") {
			t.Errorf("-o %s lets an escape through:\n%q", format, out.String())
		}
		if format == "table" && strings.Count(out.String(), "\n") != 3 {
			t.Errorf("a certificate's name broke the table:\n%s", out.String())
		}
		if format == "json" && !json.Valid(out.Bytes()) {
			t.Error("-o json is not JSON")
		}
	}
}
