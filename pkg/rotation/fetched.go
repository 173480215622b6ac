package rotation

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// refuseFetchedRoots refuses where a proxy has roots that nothing explains but a URL of
// meshConfig.caCertificates, behind which only istiods look: the last gate could not tell
// them from what was to go. Where none has any there is nothing to tell apart yet.
func (p *Plan) refuseFetchedRoots(s *mesh.Snapshot, ca mesh.CASource) {
	if len(s.MeshCAURLs) == 0 {
		return
	}
	known := pki.NewSet(slices.Concat(ca.Root.Certs, p.config.New.Roots.Certs, s.MeshCACertificates)...)
	strange := pki.Set{}
	for _, proxy := range s.Proxies {
		if proxy.Loaded == nil {
			continue
		}
		for _, i := range proxy.Loaded.Identities {
			for _, c := range i.Roots {
				if !known.Has(c) {
					strange[c.Fingerprint()] = c
				}
			}
		}
	}
	var names []string
	for _, c := range strange {
		names = append(names, c.Subject()+" ("+c.Fingerprint().Short()+")")
	}
	slices.Sort(names)
	const object, hint = "meshConfig.caCertificates", "--mesh-root FILE names the roots behind the URL, as its owner publishes them: proxies may have these besides, and no others"
	urls := strings.Join(s.MeshCAURLs, ", ")
	if len(names) == 0 {
		p.warn("mesh-roots-unknown", object, "istiods fetch more roots from "+urls+", which nobody looks at here", hint)
		return
	}
	p.refuse("mesh-roots-unknown", object, fmt.Sprintf("proxies trust %s, which may be of %s: whether the old root is gone in the end could not be told", strings.Join(names, ", "), urls), hint)
}
