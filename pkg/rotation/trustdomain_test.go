package rotation_test

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A new root is of the same trust domain: nobody's identity changes with it, nor does
// the mesh config that it comes from, whatever organization the new CA's name has.
func TestS6_TrustDomainKept(t *testing.T) {
	const domain = "td.example"
	for name, row := range map[string]struct {
		change  func(*rehearsal.Spec)
		prepare func(*bench)
	}{
		"hot":          {nil, func(*bench) {}},
		"cross-signed": {cold, (*bench).cross},
		"and back":     {nil, func(*bench) {}},
		"intermediate": {nil, (*bench).sameRoot},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(s *rehearsal.Spec) {
					if row.change != nil {
						row.change(s)
					}
					s.TrustDomain = domain
				})
				row.prepare(b)
				b.engine.Timeout = time.Hour
				config := func() string {
					cm, err := b.mesh.Kube.CoreV1().ConfigMaps("istio-system").Get(b.ctx, "istio", metav1.GetOptions{})
					if err != nil {
						t.Fatal(err)
					}
					return cm.Data["mesh"]
				}
				look := func() (who, leaves map[string]string) {
					s, err := b.collector().Collect(b.ctx)
					if err != nil {
						t.Fatal(err)
					}
					if s.TrustDomain != domain {
						t.Fatalf("the mesh is of the trust domain %q", s.TrustDomain)
					}
					return identities(t, s)
				}
				wasConfig := config()
				was, old := look()
				if err := b.run(); err != nil {
					t.Fatal(err)
				}
				if name == "and back" {
					b.config.Back, b.engine.Back = true, true
					if err := b.run(); err != nil {
						t.Fatal(err)
					}
				}
				is, now := look()
				if !maps.Equal(was, is) {
					t.Errorf("who is who has changed:\n%v\n%v", was, is)
				}
				if config() != wasConfig {
					t.Errorf("the mesh config was written: %s", config())
				}
				for ref := range old {
					if old[ref] == now[ref] {
						t.Errorf("%s has the certificate of before: nothing is shown", ref)
					}
				}
			})
		})
	}
}

// identities are every proxy's SPIFFE ID and serial number.
func identities(t *testing.T, s *mesh.Snapshot) (who, leaves map[string]string) {
	t.Helper()
	who, leaves = map[string]string{}, map[string]string{}
	for _, p := range s.Proxies {
		if p.Loaded == nil || len(p.Loaded.Identities) == 0 || len(p.Loaded.Identities[0].Chain) == 0 {
			t.Fatalf("%s was not read: %s", p.Ref(), p.Error)
		}
		leaf := p.Loaded.Identities[0].Chain[0].X509
		if len(leaf.URIs) != 1 || leaf.URIs[0].Host != "td.example" {
			t.Errorf("%s is %v", p.Ref(), leaf.URIs)
			continue
		}
		who[p.Ref()], leaves[p.Ref()] = leaf.URIs[0].String(), leaf.SerialNumber.String()
	}
	return who, leaves
}
