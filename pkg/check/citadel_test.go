package check_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// citadel makes the world a mesh of Istio 1.1 in good order, secured throughout.
func (w *world) citadel() {
	plane := w.plane()
	plane.Name, plane.Version, plane.Image = "istio-citadel", "1.1.8", "hub/citadel:1.1.8"
	plane.CA.Kind, plane.CA.Secret = mesh.CACitadel, "istio-ca-secret"
	plane.CA.Cert, plane.CA.Chain = plane.CA.Root, pki.Bundle{}
	plane.Flags = mesh.Flags{DefaultWorkloadTTL: mesh.Duration(90 * day), MaxWorkloadTTL: mesh.Duration(90 * day)}
	w.s.MTLS = mesh.MTLS{ControlPlaneAuthPolicy: mesh.MutualTLS}
	w.s.WorkloadSecrets = []mesh.WorkloadSecret{{Namespace: "a", Name: "istio.default", ServiceAccount: "default", Roots: []*pki.Certificate{w.root.Cert},
		Chain: []*pki.Certificate{w.leaf(w.root, "spiffe://cluster.local/ns/a/sa/default", clock().Add(-day), 90*day)}}}
	w.s.Components = nil
	for _, role := range []string{"pilot", "galley", "sidecar-injector"} {
		w.s.Components = append(w.s.Components, mesh.Component{Namespace: "istio-system", Pod: role + "-1", Role: role, Sidecar: role == "pilot", Ready: true, Version: "1.1.8", Started: clock()})
	}
}

// citadelRenews makes the world a mesh of Istio 1.4 whose Citadel looks at its root
// every so often, some time after that was made.
func (w *world) citadelRenews(every, age time.Duration) {
	w.citadel()
	w.plane().Version, w.plane().RootRenewal = "1.4.10", &mesh.RootRenewal{Every: mesh.Duration(every), Percent: 20}
	w.s.TakenAt = clock().Add(age)
}

// TestP2_CitadelInGoodOrder: the rules on Citadel meshes find nothing where nothing
// is wrong, nor on meshes of istiod.
func TestP2_CitadelInGoodOrder(t *testing.T) {
	for name, prepare := range map[string]func(*world){
		"istiod": func(*world) {}, "citadel": (*world).citadel,
		"Pilot without a sidecar, not secured": func(w *world) {
			w.citadel()
			w.s.Components[0].Sidecar, w.s.MTLS = false, mesh.MTLS{}
		},
		"an injector with a DNS certificate": func(w *world) {
			w.citadel()
			w.s.Components[2].DNS, w.s.Components[2].Version = true, "1.4.10"
			w.s.Webhooks[0].CABundle = pki.NewBundle(newAuthority(t, "kubernetes", 3650*day).Cert)
		},
		// A minute after the root, of which nothing issued is left: its Secret says when.
		"Galley as old as a fresh mesh": func(w *world) {
			w.citadel()
			root := w.root.Cert.X509.NotBefore
			w.plane().CA.Created = root.Add(-time.Second)
			w.s.TakenAt = clock().Add(60 * day)
			w.s.WorkloadSecrets[0].Chain = []*pki.Certificate{w.leaf(w.root, "spiffe://cluster.local/ns/a/sa/default", clock().Add(50*day), 90*day)}
			w.s.Components[1].Started = root.Add(time.Minute)
		},
	} {
		w := newWorld(t)
		prepare(w)
		for _, f := range w.run().Findings {
			if strings.HasPrefix(f.ID, "citadel-") || strings.HasPrefix(f.ID, "pilot-") || strings.HasPrefix(f.ID, "galley-") || strings.HasPrefix(f.ID, "injector-") {
				t.Errorf("%s: %s: %s", name, f.ID, f.Message)
			}
		}
	}
}

// TestS9_CitadelRenewsItsRoot: years before it does, that is a fact and no fault; on a
// mesh whose Citadel has nothing that would, nothing is said.
func TestS9_CitadelRenewsItsRoot(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(*world)
		id      string
	}{
		"in years":              {func(w *world) { w.citadelRenews(time.Hour, 0) }, "citadel-renews-root"},
		"never, as it is told":  {func(w *world) { w.citadelRenews(0, 0) }, "citadel-root-renewal-off"},
		"never, by its release": {(*world).citadel, ""},
	} {
		w := newWorld(t)
		test.prepare(w)
		report := w.run()
		if !slices.Contains(report.Passed, "citadel-root-renewal") {
			t.Errorf("%s: a fact is held for a fault", name)
		}
		said := ""
		for _, f := range report.Findings {
			if f.ID == "citadel-renews-root" || f.ID == "citadel-root-renewal-off" || f.ID == "citadel-root-overdue" {
				said = f.ID
			}
		}
		if said != test.id {
			t.Errorf("%s: it says %q, not %q", name, said, test.id)
		}
	}
	w := newWorld(t)
	w.citadelRenews(time.Hour, 0)
	w.plane().CA.Root = pki.Bundle{}
	if report := w.run(); slices.Contains(report.Passed, "citadel-root-renewal") {
		t.Error("without its root nothing is known, and it passes")
	}
}

// TestS3_NotUsedAndCalled: no traffic rests on the root, and the API server calls the
// injector by it all the same: its end is no time to do nothing.
func TestS3_NotUsedAndCalled(t *testing.T) {
	for _, hooks := range []bool{true, false} {
		w := newWorld(t)
		w.citadel()
		w.s.MTLS = mesh.MTLS{}
		if w.s.Webhooks = nil; hooks {
			w.s.Webhooks = []mesh.Webhook{{Kind: "MutatingWebhookConfiguration", Config: "istio-sidecar-injector", Name: "sidecar-injector.istio.io", CABundle: w.root.Roots, Fatal: true}}
		}
		use, why := check.MTLSUse(w.s)
		text := strings.Join(why, "; ")
		for _, f := range w.run().Findings {
			if f.ID == "mtls-not-used" {
				text += f.Hint
			}
		}
		says := strings.Contains(text, "webhook istio-sidecar-injector") && strings.Contains(text, "--strategy same-key") && !strings.Contains(text, "no action is required")
		if use != check.NotUsed || says != hooks {
			t.Errorf("webhooks %t: %s: %s", hooks, use, text)
		}
	}
}

// TestS3_MTLSUse: "not used" exists on Citadel meshes alone, without any policy
// that accepts mutual TLS, with the control plane not secured, and all of it read.
func TestS3_MTLSUse(t *testing.T) {
	yes := true
	policies := func(modes ...string) func(*mesh.Snapshot) {
		return func(s *mesh.Snapshot) {
			for _, mode := range modes {
				kind := "MeshPolicy"
				if strings.HasSuffix(mode, "MUTUAL") || mode == "SIMPLE" {
					kind = "DestinationRule"
				}
				s.MTLS.Policies = append(s.MTLS.Policies, mesh.MTLSPolicy{Kind: kind, Name: "default", Mode: mode})
			}
		}
	}
	for name, test := range map[string]struct {
		istiod bool
		with   func(*mesh.Snapshot)
		want   check.Use
		why    string
	}{
		"istiod, nothing asked":   {true, func(*mesh.Snapshot) {}, check.Used, "agents"},
		"istiod, all disabled":    {true, policies("DISABLE"), check.Used, "DISABLE: MeshPolicy default"},
		"no policy at all":        {false, func(*mesh.Snapshot) {}, check.NotUsed, "no policy"},
		"all disabled":            {false, policies("DISABLE", "SIMPLE"), check.NotUsed, ""},
		"S26 authPolicy":          {false, func(s *mesh.Snapshot) { s.MTLS.AuthPolicy = mesh.MutualTLS }, check.Used, "authPolicy"},
		"S26 control plane":       {false, func(s *mesh.Snapshot) { s.MTLS.ControlPlaneAuthPolicy = mesh.MutualTLS }, check.Used, "controlPlaneAuthPolicy"},
		"strict":                  {false, policies("STRICT"), check.Used, "STRICT: MeshPolicy default"},
		"permissive":              {false, policies("PERMISSIVE"), check.MayBeUsed, "no client"},
		"permissive and a client": {false, policies("PERMISSIVE", "ISTIO_MUTUAL"), check.Used, "DestinationRule"},
		"a client with files":     {false, policies("MUTUAL"), check.Used, ""},
		"permissive, clients send it by themselves": {false, func(s *mesh.Snapshot) { policies("PERMISSIVE")(s); s.MTLS.AutoMTLS = &yes }, check.Used, "enableAutoMtls"},
		"enableAutoMtls alone":                      {false, func(s *mesh.Snapshot) { s.MTLS.AutoMTLS = &yes }, check.NotUsed, ""},
		"policies unread":                           {false, func(s *mesh.Snapshot) { s.Gaps = []mesh.Gap{{Part: "rules", Resource: "destinationrules"}} }, check.UseUnknown, "not read: rules"},
		"mesh config unread":                        {false, func(s *mesh.Snapshot) { s.Gaps = []mesh.Gap{{Part: "mesh config x", Resource: "configmaps"}} }, check.UseUnknown, ""},
		"policies unread, and used all the same": {false, func(s *mesh.Snapshot) {
			s.Gaps = []mesh.Gap{{Part: "rules", Resource: "destinationrules"}}
			policies("STRICT")(s)
		}, check.Used, ""},
		"no control plane": {false, func(s *mesh.Snapshot) { s.ControlPlanes = nil }, check.UseUnknown, ""},
	} {
		s := &mesh.Snapshot{ControlPlanes: []mesh.ControlPlane{{CA: mesh.CASource{Kind: mesh.CACitadel}}}}
		if test.istiod {
			s.ControlPlanes[0].CA.Kind = mesh.CASelfSigned
		}
		test.with(s)
		use, why := check.MTLSUse(s)
		if use != test.want || !strings.Contains(strings.Join(why, "; "), test.why) {
			t.Errorf("%s: %s, %q", name, use, why)
		}
	}
}
