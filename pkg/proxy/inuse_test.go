package proxy_test

import (
	"crypto/x509"
	"math/big"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

func TestInUse(t *testing.T) {
	leaf := certificate(t)
	id := "spiffe://cluster.local/ns/a/sa/b"
	now := proxy.Context{SPIFFE: id, LeafSerial: leaf.X509.SerialNumber.Text(16)}
	old := proxy.Context{SPIFFE: id, LeafSerial: "beef"}
	other := proxy.Context{SPIFFE: "spiffe://cluster.local/ns/a/sa/other", LeafSerial: "cafe"}
	for _, row := range []struct {
		name      string
		contexts  []proxy.Context
		confirmed bool
		stale     string
	}{
		{"none were read", nil, false, ""},
		{"all use it", []proxy.Context{now, now}, true, ""},
		{"one does not follow yet", []proxy.Context{now, old}, true, "beef"},
		{"one does not follow yet, read first", []proxy.Context{old, now}, true, "beef"},
		{"another identity's, and a gateway's own", []proxy.Context{other, {LeafSerial: "dead"}}, false, ""},
	} {
		l := proxy.Loaded{Contexts: row.contexts}
		if confirmed, stale := l.InUse(proxy.Identity{SPIFFE: id, Chain: []*pki.Certificate{leaf}}); confirmed != row.confirmed || stale != row.stale {
			t.Errorf("%s: confirmed %v, stale %q", row.name, confirmed, stale)
		}
	}
	// The certificate of its other side, which is a file, is no former one.
	file := pki.FromX509(&x509.Certificate{SerialNumber: big.NewInt(0xbeef)})
	l := proxy.Loaded{Contexts: []proxy.Context{now, old}, Identities: []proxy.Identity{{SPIFFE: id, Chain: []*pki.Certificate{leaf}}, {SPIFFE: id, Chain: []*pki.Certificate{file}}}}
	for n, i := range l.Identities {
		if confirmed, stale := l.InUse(i); !confirmed || stale != "" {
			t.Errorf("side %d: confirmed %v, stale %q", n, confirmed, stale)
		}
	}
}
