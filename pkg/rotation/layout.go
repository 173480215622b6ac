package rotation

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// material is everything a rotation writes from: the old Secret's entries as they
// were, and the new signer's. It holds keys, and is never printed.
type material struct {
	layout mesh.Layout
	old    map[string][]byte
	new    pki.Files
}

const (
	pluggedSecret = "cacerts"
	generatedKey  = "istio-generated"
)

// adopted is the content of cacerts that makes istiod sign with the self-signed pair
// as before: the one certificate is signer, chain and root.
func adopted(selfSigned map[string][]byte) map[string][]byte {
	cert := selfSigned[pki.CertFile]
	return map[string][]byte{pki.CertFile: cert, pki.ChainFile: cert, pki.RootFile: cert, pki.KeyFile: selfSigned[pki.KeyFile]}
}

// newMaterial lays the new signer out; old are the Secret's entries at the start.
func newMaterial(kind mesh.CAKind, old map[string][]byte, ca *pki.Authority) (*material, error) {
	layout, ok := mesh.LayoutOf(kind)
	if !ok {
		return nil, fmt.Errorf("a CA of kind %q is not written", kind)
	}
	files, err := ca.Files()
	if err != nil {
		return nil, fmt.Errorf("the new CA: %w", err)
	}
	if key, err := pki.ParseKey(old[layout.Key]); err == nil && ca.Key != nil && pki.SameKey(key.Public(), ca.Key.Public()) {
		files.CAKey.Data = old[layout.Key] // a key that stays is not even written anew
	}
	return &material{layout: layout, old: maps.Clone(old), new: files}, nil
}

// entries are the Secret's after a step. What is not ours stays as it was.
func (m *material) entries(step Step, roots []byte) map[string][]byte {
	data := maps.Clone(m.old)
	data[m.layout.Root] = roots
	if m.layout.Root == m.layout.Cert {
		// A self-signed CA's one certificate is all: copies of it stand in other entries
		// from some releases on (istio 1.20.0 security/pkg/pki/ca/ca.go:195).
		for _, name := range m.copies() {
			if len(m.old[name]) > 0 && bytes.Equal(m.old[name], m.old[m.layout.Cert]) {
				data[name] = roots
			}
		}
		return data
	}
	if step.Signs == oldSide {
		return data
	}
	data[m.layout.Key] = m.new.CAKey.Data
	if m.layout.Chain == "" {
		data[m.layout.Cert] = step.Chain
		return data
	}
	data[m.layout.Cert], data[m.layout.Chain] = m.new.CACert.Data, step.Chain
	return data
}

// copies are the entries in which some releases repeat a self-signed CA's certificate.
func (m *material) copies() []string {
	if m.layout.Root == m.layout.Cert {
		return []string{pki.RootFile, pki.ChainFile}
	}
	return nil
}

// over is what a Secret holds once a step's entries are written over its own: whatever
// somebody else keeps there stays as it is now.
func (m *material) over(there, step map[string][]byte) map[string][]byte {
	if there == nil {
		return step
	}
	data := maps.Clone(there)
	for _, name := range append(m.layout.Entries(), m.copies()...) {
		if raw, ok := step[name]; ok {
			data[name] = raw
		} else {
			delete(data, name)
		}
	}
	return data
}

// same reports whether the entries that istiod reads are the same in both.
func (m *material) same(a, b map[string][]byte) bool {
	return a != nil && m.generated(a) == m.generated(b) &&
		!slices.ContainsFunc(m.layout.Entries(), func(name string) bool { return !bytes.Equal(a[name], b[name]) })
}

// generated reports whether istiod takes a cacerts for its own, which it does not
// watch (istio 1.30.3 security/pkg/pki/ca/ca.go:69).
func (m *material) generated(data map[string][]byte) bool {
	_, ok := data[generatedKey]
	return ok
}
