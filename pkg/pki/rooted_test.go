package pki_test

import (
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// A file of roots that is written from the CA up has its intermediates in it: they are
// presented, and the root alone is trusted. Other roots stay, and an intermediate that is
// trusted without what stands above it is meant.
func TestRooted(t *testing.T) {
	root, other := newRoot(t, "root"), newRoot(t, "other")
	policy := below(t, root, "policy", 1)
	issuing := below(t, policy, "issuing", 0)
	stray := below(t, other, "stray", 0)
	for name, row := range map[string]struct {
		roots, behind, wantRoots, wantChain []*pki.Certificate
	}{
		"a root":                     {certs(root), certs(policy), certs(root), certs(policy)},
		"all, and a whole chain":     {certs(issuing, policy, root), certs(policy), certs(root), certs(policy)},
		"all, and no chain":          {certs(issuing, policy, root), nil, certs(root), certs(policy)},
		"from the root down":         {certs(root, policy), nil, certs(root), certs(policy)},
		"another root, and theirs":   {certs(other, stray, policy, root), nil, certs(root, other, stray), certs(policy)},
		"an intermediate is trusted": {certs(policy), nil, certs(policy), nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := pki.NewAuthority(issuing.Cert, row.behind, pki.NewBundle(row.roots...)).Rooted()
			if !same(a.Roots.Certs, row.wantRoots) || !same(a.Chain, row.wantChain) {
				t.Errorf("trusted %v, presented %v", subjects(a.Roots.Certs), subjects(a.Chain))
			}
			laid, err := pki.ParseBundle(a.Roots.Raw)
			if err != nil || !laid.Set().Equal(a.Roots.Set()) {
				t.Errorf("the bytes hold %v: %v", subjects(laid.Certs), err)
			}
		})
	}
}

func certs(all ...*pki.Authority) (certs []*pki.Certificate) {
	for _, a := range all {
		certs = append(certs, a.Cert)
	}
	return certs
}

func same(a, b []*pki.Certificate) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].Equal(b[i]) {
			return false
		}
	}
	return true
}

func subjects(all []*pki.Certificate) (names []string) {
	for _, c := range all {
		names = append(names, c.Subject())
	}
	return names
}
