package rotation

import (
	"crypto/x509/pkix"
	"fmt"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// Flags may be taken off again in the middle of a rotation: whatever was written while
// istiods loaded a bundle in place stands for the same step of the plan without, there and
// back.
func TestLayoutsOfAWarmerMesh(t *testing.T) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	made := func(name string, under *pki.Authority) *pki.Authority {
		request := pki.Request{Subject: pkix.Name{CommonName: name}, Key: pki.ECDSAP256, Now: now, PathLen: -1}
		if under == nil {
			a, err := pki.NewRoot(request)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		request.PathLen = 0
		a, err := under.NewIntermediate(request)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	rootA := made("root A", nil)
	signerA := made("intermediate A", rootA)
	renewed, err := rootA.RenewRoot(now, 0)
	if err != nil {
		t.Fatal(err)
	}
	sameKey := pki.NewAuthority(signerA.Cert, nil, pki.NewBundle(renewed.Cert))
	sameKey.Key = signerA.Key
	files, err := signerA.Files()
	if err != nil {
		t.Fatal(err)
	}
	old := map[string][]byte{}
	for _, f := range files.All() {
		old[f.Name] = f.Data
	}
	read := func(hot bool) *mesh.Snapshot {
		ca := mesh.CASource{Kind: mesh.CAPlugged, Namespace: "istio-system", Secret: "cacerts", Exists: true, HasKey: true, KeyMatches: true,
			Cert: pki.NewBundle(signerA.Cert), Chain: pki.NewBundle(signerA.Cert), Root: pki.NewBundle(rootA.Cert)}
		return &mesh.Snapshot{TakenAt: now.Add(time.Hour), ControlPlanes: []mesh.ControlPlane{{Namespace: "istio-system", Name: "istiod", Version: "1.30.3", Settled: true,
			Flags: mesh.Flags{MultiRoot: hot, AutoReload: true, CAServer: true}, CA: ca}}}
	}
	for strategy, to := range map[Strategy]*pki.Authority{HotBundle: made("intermediate B", made("root B", nil)), Intermediate: made("intermediate A2", rootA), SameKey: sameKey} {
		m, err := newMaterial(mesh.CAPlugged, old, to)
		if err != nil {
			t.Fatal(err)
		}
		for _, back := range []bool{false, true} {
			config := Config{New: to, Strategy: strategy, Resumed: true, Back: back}
			warm, cold := NewPlan(read(true), config), NewPlan(read(false), config)
			if len(warm.Steps) == 0 || len(cold.Steps) == 0 {
				t.Fatalf("%s, back %v: no plan: %v, %v", strategy, back, warm.Refusals, cold.Refusals)
			}
			where := func(p *Plan, data map[string][]byte) string {
				find, steps := m.forward, p.Steps
				if back {
					find, steps = m.backward, p.Back
				}
				at, ok := find(p, data)
				switch {
				case !ok:
					return "foreign"
				case at.untouched:
					return "untouched"
				}
				return fmt.Sprint(steps[at.step].Phase, " ", steps[at.step].Signs)
			}
			for _, step := range append(append([]Step{}, warm.Steps...), warm.Back...) {
				for _, roots := range [][]byte{step.Roots, step.nudge} {
					if roots == nil {
						continue
					}
					data := m.entries(step, roots)
					if is, was := where(cold, data), where(warm, data); is != was {
						t.Errorf("%s, back %v: what %s (%s) has written is %s, not %s", strategy, back, step.Phase, step.Name, is, was)
					}
				}
			}
		}
	}
}
