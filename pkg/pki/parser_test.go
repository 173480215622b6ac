package pki_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// Whoever parses through a Parser gets what ParseBundle gives, errors included; CAs
// are shared, leaves are not.
func TestParserParsesAsParseBundle(t *testing.T) {
	root := newRoot(t, "root")
	other := newRoot(t, "other")
	chain := slices.Concat(leafOf(t, root).PEM(), root.Cert.PEM())
	bundle := slices.Concat(other.Cert.PEM(), root.Cert.PEM())
	parser := &pki.Parser{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, raw := range [][]byte{chain, bundle, root.Cert.PEM(), nil, []byte("text"), chain[:len(chain)-40], slices.Concat(chain, root.Cert.PEM()[1:])} {
				want, wantErr := pki.ParseBundle(raw)
				got, err := parser.Certificates(raw)
				if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
					t.Errorf("%q: %v, want %v", raw, err, wantErr)
				}
				if !slices.EqualFunc(got, want.Certs, (*pki.Certificate).Equal) {
					t.Errorf("%d certificates, want %d", len(got), len(want.Certs))
				}
			}
		})
	}
	wg.Wait()
	a, err := parser.Certificates(chain)
	if err != nil {
		t.Fatal(err)
	}
	b, err := parser.Certificates(slices.Clone(chain))
	if err != nil {
		t.Fatal(err)
	}
	if a[1] != b[1] {
		t.Error("the CA was parsed twice")
	}
	if a[0] == b[0] {
		t.Error("a leaf is remembered")
	}
	// What one does with its list touches nobody else's.
	one, err := parser.Certificates(bundle)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(one, a[0])
	if two, err := parser.Certificates(bundle); err != nil || len(two) != 2 {
		t.Errorf("%d certificates, %v", len(two), err)
	}
}
