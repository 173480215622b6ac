package rotation

import (
	"bytes"
	"fmt"
	"maps"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// files are the entries of a CA Secret (istio 1.30.3 security/pkg/pki/ca/ca.go:39;
// pilot/pkg/bootstrap/istio_ca.go:229 for the layout of kubernetes.io/tls).
type files struct{ cert, key, chain, root string }

func filesOf(layout mesh.CAKind) (files, error) {
	switch layout {
	case mesh.CAPlugged:
		return files{cert: "ca-cert.pem", key: "ca-key.pem", chain: "cert-chain.pem", root: "root-cert.pem"}, nil
	case mesh.CAPluggedTLS:
		// tls.crt holds the certificate and its chain.
		return files{cert: "tls.crt", key: "tls.key", root: "ca.crt"}, nil
	}
	return files{}, fmt.Errorf("a CA of kind %q is not written", layout)
}

// material is everything a rotation writes from: the old Secret's entries as they
// were, and the new signer's. It holds keys, and is never printed.
type material struct {
	files files
	old   map[string][]byte
	new   map[string][]byte
}

// newMaterial lays the new signer out; old are the Secret's entries at the start.
func newMaterial(layout mesh.CAKind, old map[string][]byte, ca *pki.Authority) (*material, error) {
	f, err := filesOf(layout)
	if err != nil {
		return nil, err
	}
	m := &material{files: f, old: maps.Clone(old)}
	if ca.Key == nil {
		return nil, fmt.Errorf("the new CA %s has no key", ca.Cert.Subject())
	}
	key, err := pki.MarshalKey(ca.Key)
	if err != nil {
		return nil, fmt.Errorf("the key of the new CA %s: %w", ca.Cert.Subject(), err)
	}
	m.new = map[string][]byte{f.cert: ca.Cert.PEM(), f.key: key}
	return m, nil
}

// entries are the Secret's after a step. What is not ours stays as it was.
func (m *material) entries(step Step, roots []byte) map[string][]byte {
	data := maps.Clone(m.old)
	data[m.files.root] = roots
	if step.Signs == oldSide {
		return data
	}
	data[m.files.key] = m.new[m.files.key]
	if m.files.chain == "" {
		data[m.files.cert] = step.Chain
		return data
	}
	data[m.files.cert], data[m.files.chain] = m.new[m.files.cert], step.Chain
	return data
}

// same reports whether the entries that istiod reads are the same in both.
func (m *material) same(a, b map[string][]byte) bool {
	for _, name := range []string{m.files.cert, m.files.key, m.files.chain, m.files.root} {
		if name != "" && !bytes.Equal(a[name], b[name]) {
			return false
		}
	}
	return true
}

// start is the position before the first step.
const start = -1

// position is how far the Secret's entries have come: the index of the last step
// that wrote them, start for the old CA, ok false where somebody else did.
func (m *material) position(steps []Step, data map[string][]byte) (index int, ok bool) {
	for i := len(steps) - 1; i >= 0; i-- {
		if m.same(data, m.entries(steps[i], steps[i].Roots)) || steps[i].nudge != nil && m.same(data, m.entries(steps[i], steps[i].nudge)) {
			return i, true
		}
	}
	return start, m.same(data, m.old)
}
