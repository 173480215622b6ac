package check_test

import (
	"slices"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/meshca/kubectl-meshca/test/envoys/pairs"
)

// crls has every proxy judge by this text, from the CA Secret.
func (w *world) crls(raw []byte) {
	w.plane().CA.HasCRL = true
	crls := pki.ParseCRLs(raw)
	for i := range w.s.Proxies {
		w.s.Proxies[i].Loaded.Identities[0].CRLs = crls
	}
}

// crl is one of every issuer.
func (w *world) crl(from time.Time, life time.Duration) {
	w.crls(pairs.Lists(from, life, []*pki.Authority{w.root, w.ca}))
}

// A CRL of every issuer refuses nobody, and one that does not cover the chain, or has
// ended, everybody: the gate, and the classes, say the same as Envoys.
func TestProvenUnderACRL(t *testing.T) {
	both := func(w *world) []*pki.Authority { return []*pki.Authority{w.root, w.ca} }
	for name, row := range map[string]struct {
		spoil  func(*world)
		proven bool
	}{
		"none":            {func(*world) {}, true},
		"in force":        {func(w *world) { w.crl(clock(), day) }, true},
		"a text of none":  {func(w *world) { w.crls([]byte("\n")) }, false},
		"ended":           {func(w *world) { w.crl(clock().Add(-2*day), day) }, false},
		"to come":         {func(w *world) { w.crl(clock().Add(day), day) }, false},
		"of another CA":   {func(w *world) { w.crls(pairs.Lists(clock(), day, []*pki.Authority{w.other, w.next})) }, false},
		"one leaf is out": {func(w *world) { w.crls(pairs.Lists(clock(), day, both(w), w.s.Proxies[0].Loaded.Identities[0].Leaf())) }, false},
		"one proxy has one that ended": {func(w *world) {
			w.s.Proxies[0].Loaded.Identities[0].CRLs = pki.ParseCRLs(pairs.Lists(clock().Add(-2*day), day, both(w)))
		}, false},
		"a ztunnel's, empty": {func(w *world) {
			w.s.Proxies[0].Kind, w.s.Proxies[0].ReadsCRL = mesh.Ztunnel, true
			w.s.Namespaces[0].CRL = &mesh.CRLMap{Name: "istio-ca-crl"}
		}, true},
		"a ztunnel's, of a namespace that was not seen": {func(w *world) {
			w.s.Proxies[0].Kind, w.s.Proxies[0].ReadsCRL = mesh.Ztunnel, true
			w.s.Namespaces = w.s.Namespaces[1:]
		}, false},
		"sidecars have one, a ztunnel beside them none": {func(w *world) {
			w.crl(clock(), day)
			w.s.Proxies[0].Kind, w.s.Proxies[0].Loaded.Identities[0].CRLs = mesh.Ztunnel, nil
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			row.spoil(w)
			expect, ok := rotation.Present(w.s)
			if !ok {
				t.Fatal("no roots")
			}
			status := expect.Judge(w.s, nil)
			if status.Open() != row.proven {
				t.Errorf("the gate: open is %v: %v", status.Open(), status.Blockers)
			}
			for _, b := range status.Blockers {
				if b.Kind == "proxy" && !b.ByCRL {
					t.Errorf("%v is not said to be the CRL's doing", b)
				}
			}
			refused := slices.ContainsFunc(check.Matrix(check.Classes(w.s), w.s.TakenAt), func(p check.Pair) bool { return p.Answer.Result != pki.Accepted })
			if leafAlone := name == "one leaf is out"; refused == row.proven && !leafAlone {
				t.Errorf("the classes: somebody is refused: %v", refused)
			}
		})
	}
}

// A URL of the mesh config's roots is worth knowing, and said beside a proof.
func TestFetchedRootsAreSaid(t *testing.T) {
	w := newWorld(t)
	w.s.MeshCAURLs = []string{"https://partner.example/bundle"}
	report := w.run()
	if !has(report.Findings, "mesh-roots-unknown", isWarning) || has(report.Findings, "unread", isError) {
		t.Errorf("%+v", report.Findings)
	}
	if unseen := check.NotSeen(w.s); len(unseen) != 1 || unseen[0].Adds == "" {
		t.Errorf("%+v", unseen)
	}
	if expect, _ := rotation.Present(w.s); !expect.Judge(w.s, nil).Open() {
		t.Error("it keeps the gate closed")
	}
}

// What is worth knowing of CRLs is no fault: the rule passes beside it.
func TestCRLsAreFacts(t *testing.T) {
	for id, spoil := range map[string]func(*world){
		"crl":        func(w *world) { w.crl(clock(), 30*day) },
		"crl-unread": func(w *world) { w.s.Namespaces[0].CRL = &mesh.CRLMap{Name: "istio-ca-crl", Error: "forbidden"} },
		"":           func(*world) {},
	} {
		w := newWorld(t)
		spoil(w)
		report := w.run()
		if !slices.Contains(report.Passed, "crls") {
			t.Errorf("%q: it does not pass: %+v", id, report.Findings)
		}
		if id != "" && !has(report.Findings, id, isInfo) {
			t.Errorf("%q is not there", id)
		}
	}
}
