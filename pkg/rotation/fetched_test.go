package rotation_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// A URL behind which only istiods look keeps nobody from anything while no proxy has a
// root that it alone explains; where one has, that is unknown and no more, until the
// operator names it. A root that is known to be the old one is no stranger.
func TestFetchedRoots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		partner, _ := ca(t, "partner")
		for name, row := range map[string]struct {
			spoil            func(*mesh.Snapshot)
			refused          bool
			blocked, unknown bool
		}{
			"a URL":         {func(*mesh.Snapshot) {}, false, false, false},
			"a root of its": {func(s *mesh.Snapshot) { trusts(&s.Proxies[0], partner.Cert) }, true, true, true},
			"a root of its, named": {func(s *mesh.Snapshot) {
				trusts(&s.Proxies[0], partner.Cert)
				s.NameMeshRoots([]*pki.Certificate{partner.Cert})
			}, false, false, false},
			"another one was named": {func(s *mesh.Snapshot) {
				trusts(&s.Proxies[0], partner.Cert)
				s.NameMeshRoots([]*pki.Certificate{b.new.Cert})
			}, false, true, false},
			"no URL": {func(s *mesh.Snapshot) { trusts(&s.Proxies[0], partner.Cert); s.MeshCAURLs = nil }, false, true, false},
		} {
			s := wholeMesh(t, b)
			s.MeshCAURLs = []string{"https://partner.example/bundle"}
			row.spoil(s)
			expect, _ := rotation.Present(s)
			status := expect.Judge(s, nil)
			if status.Open() == row.blocked || row.blocked && status.Blockers[0].Unknown != row.unknown {
				t.Errorf("%s: %v", name, status.Blockers)
			}
			p := rotation.NewPlan(s, b.config)
			i := slices.IndexFunc(p.Refusals, func(r rotation.Refusal) bool { return r.ID == "mesh-roots-unknown" })
			if (i >= 0) != row.refused || len(p.Refusals) > 0 && !row.refused {
				t.Errorf("%s: %+v", name, p.Refusals)
			}
			if row.refused && (!strings.Contains(p.Refusals[i].Hint, "--mesh-root") || !strings.Contains(p.Refusals[i].Why, "root partner")) {
				t.Errorf("%s: %+v", name, p.Refusals[i])
			}
		}
	})
}

func trusts(p *mesh.Proxy, root *pki.Certificate) {
	p.Loaded.Identities = []proxy.Identity{p.Loaded.Identities[0]}
	i := &p.Loaded.Identities[0]
	i.Roots = append(slices.Clone(i.Roots), root)
}

// fetching is a mesh whose istiods fetch roots; hold has one proxy keep the old root.
type fetching struct {
	*bench
	hold bool
}

func (o *fetching) Observe(ctx context.Context, what rotation.Observation) (*mesh.Snapshot, error) {
	s, err := o.bench.Observe(ctx, what)
	if err != nil {
		return nil, err
	}
	s.MeshCAURLs = []string{"https://partner.example/bundle"}
	if o.hold && what.Proxies && s.Proxies[0].Loaded != nil {
		p := &s.Proxies[0]
		if roots := pki.NewSet(p.Loaded.Identities[0].Roots...); !roots.Has(o.oldRoot.Cert) {
			trusts(p, o.oldRoot.Cert)
		}
	}
	return s, nil
}

// With such a URL a rotation goes to its end, and the old root is seen to leave: that one
// has it still is known, and is nothing to accept.
func TestRotateBesideFetchedRoots(t *testing.T) {
	for name, hold := range map[string]bool{"all follow": false, "one keeps the old root": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, small)
				b.engine.Observer = &fetching{b, hold}
				err := b.run()
				var gate *rotation.GateError
				switch {
				case !hold && err != nil:
					t.Errorf("it ends with %v", err)
				case hold && (!errors.As(err, &gate) || gate.Phase != rotation.DistrustOld || slices.ContainsFunc(gate.Status.Blockers, func(b rotation.Blocker) bool { return b.Unknown })):
					t.Errorf("it ends with %v", err)
				}
			})
		})
	}
}
