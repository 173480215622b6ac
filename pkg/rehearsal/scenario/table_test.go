package scenario_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// row is one mesh and what is expected of it. Whatever the row, no pair may fail
// while the product is at work, and nothing may be called done that would break
// later; rows with by are rotated by hand, and breaks says whether that goes wrong:
// they show that the mesh in memory has the fault that the product works around.
type row struct {
	name string
	// facts are the rules of the facts about Istio that it rests on.
	facts []string
	// spec changes the default: two hot replicas of 1.30.3 and four proxies.
	spec func(*bench, *rehearsal.Spec)
	// spoil is what happens before.
	spoil func(*bench)
	// cross gives a cross certificate.
	cross bool
	// strategy is the one that is chosen, refused the ID of a refusal, closed the
	// phase whose gate stays closed and by what it is kept so, ends another end.
	strategy rotation.Strategy
	refused  string
	closed   rotation.Phase
	blocker  string
	ends     func(error) bool
	// unfinished is what the engine says it cannot do yet; the mesh stays whole.
	unfinished string
	// finds are IDs of findings that check must have.
	finds  []string
	by     func(*bench)
	breaks bool
	// only looks and plans, for what check finds. broken meshes have pairs that fail
	// before anything is done.
	only, broken bool
	// after is a phase to stop behind, and meanwhile what happens then.
	after     rotation.Phase
	meanwhile func(*bench)
	// newCA changes what is asked for. override answers refusals, accept takes what is
	// unknown.
	newCA    func(*bench)
	override []string
	accept   []string
	// shows says, of a mesh that was rotated by hand, what it does not show; "" where all
	// is as the rule says.
	shows func(*bench) string
	// faulty has faults that the one run meets, so that no other comes before it.
	faulty bool
}

func cold(_ *bench, s *rehearsal.Spec) { s.MultiRoot, s.XDSAgent = false, false }

func release(version string) func(*bench, *rehearsal.Spec) {
	return func(_ *bench, s *rehearsal.Spec) { s.Release = version }
}

func coldRelease(version string) func(*bench, *rehearsal.Spec) {
	return func(b *bench, s *rehearsal.Spec) { cold(b, s); s.Release = version }
}

func env(name, value string) func(*bench, *rehearsal.Spec) {
	return func(_ *bench, s *rehearsal.Spec) { s.Env = map[string]string{name: value} }
}

// beside adds a workload to the default mesh.
func beside(w rehearsal.Workload) func(*bench, *rehearsal.Spec) {
	return func(_ *bench, s *rehearsal.Spec) {
		w.Namespace, w.Name, w.Proxies = "b", "other", 2
		if w.Kind == mesh.Ztunnel {
			w.Namespace, w.Controller = "istio-system", "DaemonSet"
		}
		s.Workloads = append(s.Workloads, w)
	}
}

func both(all ...func(*bench, *rehearsal.Spec)) func(*bench, *rehearsal.Spec) {
	return func(b *bench, s *rehearsal.Spec) {
		for _, f := range all {
			f(b, s)
		}
	}
}

func selfSigned(b *bench, s *rehearsal.Spec) {
	s.Source, s.CA = mesh.CASelfSigned, b.oldRoot
	cold(b, s)
}

func tlsLayout(_ *bench, s *rehearsal.Spec) { s.Source = mesh.CAPluggedTLS }

func spread(_ *bench, s *rehearsal.Spec) {
	s.Spread, s.Random, s.FileLag = 3*time.Second, rand.New(rand.NewPCG(1, 2)), 20*time.Second
}

func fault(f rehearsal.Fault) func(*bench) { return func(b *bench) { b.mesh.Inject(f) } }

func secrets() schema.GroupResource { return schema.GroupResource{Resource: "secrets"} }

// table is every row.
func table() []row {
	return slices.Concat(mainRows(), shapeRows(), gateRows(), releaseRows(), handRows(), auditRows())
}

func mainRows() []row {
	broken := errors.New("the server is broken")
	went := func(err error) bool { return errors.Is(err, broken) }
	return []row{
		// Hot meshes.
		{name: "hot-1.20.1", facts: []string{"B2", "B3", "D1", "D2", "G-1.20.0"}, spec: release("1.20.1"), strategy: rotation.HotBundle},
		{name: "hot-1.24.5", facts: []string{"D4"}, spec: release("1.24.5"), strategy: rotation.HotBundle},
		{name: "hot-1.29.6", facts: []string{"B2"}, spec: release("1.29.6"), strategy: rotation.HotBundle},
		{name: "hot-1.30.3", facts: []string{"B2", "D2"}, strategy: rotation.HotBundle},
		{name: "hot-one-replica", spec: func(_ *bench, s *rehearsal.Spec) { s.Replicas = 1 }, strategy: rotation.HotBundle},
		{name: "hot-spread-and-lagging-files", facts: []string{"D1", "D2"}, spec: spread, strategy: rotation.HotBundle},
		{name: "hot-federated", facts: []string{"H2"}, spec: func(b *bench, s *rehearsal.Spec) { s.Extra = []*pki.Certificate{b.foreign.Cert} }, strategy: rotation.HotBundle},
		{name: "hot-tls-layout", facts: []string{"A1"}, spec: tlsLayout, strategy: rotation.HotBundle},
		{name: "hot-gateways-and-waypoints", facts: []string{"D3"}, spec: both(beside(rehearsal.Workload{Kind: mesh.Gateway}), beside2(rehearsal.Workload{Kind: mesh.Waypoint})), strategy: rotation.HotBundle},
		{name: "hot-two-revisions", facts: []string{"B4"}, spec: both(beside(rehearsal.Workload{Revision: "canary"}), func(_ *bench, s *rehearsal.Spec) {
			s.Revisions = []rehearsal.Revision{{Name: "canary", Release: "1.29.6", Replicas: 1, MultiRoot: true}}
		}), strategy: rotation.HotBundle, finds: []string{"mixed-releases"}},

		// Cold and mixed meshes.
		{name: "cross-1.18.0", facts: []string{"B1"}, spec: both(coldRelease("1.18.0"), func(_ *bench, s *rehearsal.Spec) { s.Proxies = 0 }, beside(rehearsal.Workload{Release: "1.20.1"})), cross: true, strategy: rotation.CrossSign},
		{name: "cross-1.30.3", facts: []string{"B1", "D1", "S3"}, spec: cold, cross: true, strategy: rotation.CrossSign},
		{name: "cross-tls-layout", facts: []string{"A1", "S3"}, spec: both(cold, tlsLayout), cross: true, strategy: rotation.CrossSign},
		{name: "cross-lagging-files", facts: []string{"D1"}, spec: both(cold, spread), cross: true, strategy: rotation.CrossSign},
		{name: "cross-one-cold-proxy", facts: []string{"D2"}, spec: beside(rehearsal.Workload{Cold: true}), cross: true, strategy: rotation.CrossSign},
		{name: "cold-without-cross", facts: []string{"B2", "B5"}, spec: cold, strategy: rotation.BundleByRenewal},
		{name: "one-cold-proxy-without-cross", facts: []string{"D2"}, spec: beside(rehearsal.Workload{Cold: true}), strategy: rotation.BundleByRenewal, finds: []string{"reach-renewal"}},
		{name: "cold-revision-without-cross", facts: []string{"B4"}, spec: both(beside(rehearsal.Workload{Revision: "canary"}), func(_ *bench, s *rehearsal.Spec) {
			s.Revisions = []rehearsal.Revision{{Name: "canary", Replicas: 1}}
		}), strategy: rotation.BundleByRenewal},
		{name: "idle-cold-revision-without-cross", facts: []string{"B4"}, spec: func(_ *bench, s *rehearsal.Spec) {
			s.Revisions = []rehearsal.Revision{{Name: "canary", Replicas: 1}}
		}, strategy: rotation.BundleByRenewal},
		{name: "old-agent", facts: []string{"D1", "G-1.20.1"}, spec: beside(rehearsal.Workload{Release: "1.20.0"}), cross: true, strategy: rotation.CrossSign},
		{name: "no-watcher-1.17", facts: []string{"B1"}, spec: coldRelease("1.17.0"), cross: true, unfinished: "it must be restarted"},

		// Refused, whatever the flags.
		{name: "splits-roots-1.24.4", facts: []string{"D4", "G-1.24.4"}, spec: release("1.24.4"), refused: "bad-release"},
		{name: "splits-roots-1.25.1", facts: []string{"D4", "G-1.24.4"}, spec: release("1.25.1"), refused: "bad-release"},
		{name: "ignores-signer-1.27.0-rc.0", facts: []string{"B1"}, spec: release("1.27.0-rc.0"), refused: "bad-release"},
		{name: "old-1.13.9", facts: []string{"B1"}, spec: coldRelease("1.13.9"), cross: true, refused: "old-release"},
		{name: "kubernetes-signer", facts: []string{"A2"}, spec: env("EXTERNAL_CA", "ISTIOD_RA_KUBERNETES_API"), refused: "kubernetes-signer", finds: []string{"ca-elsewhere"}},
		{name: "istio-csr", facts: []string{"A2"}, spec: env("ENABLE_CA_SERVER", "false"), refused: "istio-csr", finds: []string{"ca-elsewhere"}},
		{name: "ztunnel", facts: []string{"D5"}, spec: beside(rehearsal.Workload{Kind: mesh.Ztunnel}), refused: "ambient"},
		{name: "virtual-machine", facts: []string{"B6", "D3"}, spec: func(_ *bench, s *rehearsal.Spec) { s.VMs = []string{"vm"} }, closed: rotation.Prepare, blocker: "a/vm", finds: []string{"virtual-machine"}},
		{name: "file-mounted", facts: []string{"D2"}, spec: beside(rehearsal.Workload{Env: map[string]string{"FILE_MOUNTED_CERTS": "true"}}), cross: true, refused: "does-not-follow"},
		{name: "cert-manager", facts: []string{"H5.6"}, spoil: secret(func(s *corev1.Secret) { s.Annotations = map[string]string{"cert-manager.io/certificate-name": "ca"} }), refused: "owned-secret"},
		{name: "immutable-secret", spoil: secret(func(s *corev1.Secret) { yes := true; s.Immutable = &yes }), refused: "immutable-secret", finds: []string{"ca-immutable"}},
		{name: "crl", facts: []string{"A1"}, spoil: secret(func(s *corev1.Secret) { s.Data["ca-crl.pem"] = []byte("x") }), refused: "crl", finds: []string{"ca-crl"}},
		{name: "crl-in-force", facts: []string{"A1"}, spec: withCRL, refused: "crl", finds: []string{"ca-crl", "crl"}},
		{name: "crl-left-behind", facts: []string{"A1"}, spec: withCRL, spoil: withoutCRL, refused: "crl", finds: []string{"crl-left"}},
		{name: "crl-got-rid-of", facts: []string{"A1"}, spec: withCRL, spoil: func(b *bench) { withoutCRL(b); b.restart(); time.Sleep(2 * time.Minute) }, strategy: rotation.HotBundle},
		{name: "crl-before-1.27", facts: []string{"A1"}, spec: both(release("1.26.8"), withCRL), spoil: withoutCRL, strategy: rotation.HotBundle},
		{name: "crl-comes-meanwhile", facts: []string{"A1"}, after: rotation.TrustNew, meanwhile: func(b *bench) { putCRL(b); withoutCRL(b) }, refused: "crl"},
		{name: "another-cluster", facts: []string{"H2"}, spoil: func(b *bench) {
			b.create(&corev1.Secret{ObjectMeta: meta("remote", map[string]string{"istio/multiCluster": "true"})})
		}, refused: "multi-cluster"},

		// Gates.
		{name: "hung-agent", facts: []string{"E2"}, spoil: func(b *bench) { b.must(b.mesh.Hang("b/app-1")) }, closed: rotation.TrustNew, blocker: "b/app-1"},
		{name: "unreadable-proxy", facts: []string{"E3"}, spoil: func(b *bench) { b.mesh.Freeze("b/app-1") }, closed: rotation.Prepare, blocker: "b/app-1"},
		{name: "replica-whose-files-stay", facts: []string{"B1", "F"}, spoil: func(b *bench) { b.held = b.mesh.Hold(1) }, closed: rotation.TrustNew, blocker: "istiod-1-2"},
		{name: "foreign-configmap", facts: []string{"B4"}, spoil: configMap, closed: rotation.Prepare, blocker: "b/istio-ca-root-cert", finds: []string{"configmap-immutable"}},

		// Faults of the way there.
		{name: "conflict-at-the-secret", faulty: true, spoil: fault(rehearsal.Fault{Verb: "update", Resource: "secrets", Err: apierrors.NewConflict(secrets(), "cacerts", errors.New("changed"))}), strategy: rotation.HotBundle},
		{name: "broken-server-at-the-second-write", faulty: true, spoil: fault(rehearsal.Fault{Verb: "update", Resource: "secrets", Skip: 1, Err: broken}), ends: went},
		{name: "answer-lost-after-the-write", faulty: true, spoil: fault(rehearsal.Fault{Verb: "update", Resource: "secrets", Skip: 1, Err: broken, Lost: true}), ends: went},
		{name: "dials-time-out-now-and-then", faulty: true, spoil: fault(rehearsal.Fault{Verb: "dial", Resource: "proxy", Skip: 12, Times: 5, Err: errors.New("i/o timeout")}), strategy: rotation.HotBundle},
		{name: "too-many-requests-for-pods", faulty: true, spoil: fault(rehearsal.Fault{Verb: "list", Resource: "pods", Skip: 12, Times: 2, Err: apierrors.NewTooManyRequests("slow down", 1)}), strategy: rotation.HotBundle},

		// By hand: what goes wrong, and right, without the product.
		{name: "by-hand-three-phases", facts: []string{"H2", "H3", "H4"}, by: threePhases},
		{name: "by-hand-crl-left-behind", facts: []string{"A1"}, spec: withCRL, by: func(b *bench) { withoutCRL(b); threePhases(b) }, breaks: true},
		{name: "by-hand-one-step", facts: []string{"H5.3", "B2"}, by: oneStep, breaks: true},
		{name: "by-hand-one-step-cold", facts: []string{"H5.3", "B2"}, spec: cold, by: oneStep, breaks: true},
		{name: "by-hand-root-and-signer-together", facts: []string{"H5.4", "B3"}, spec: beside(rehearsal.Workload{Cold: true}), by: together, breaks: true},
		{name: "by-hand-reordered-1.29", facts: []string{"B2"}, spec: both(release("1.29.6"), foreign), by: reordered, breaks: true},
		{name: "by-hand-reordered-1.30", facts: []string{"B2"}, spec: foreign, by: reordered},
		{name: "by-hand-bundle-1.24.4", facts: []string{"D4"}, spec: coldRelease("1.24.4"), by: bundle, breaks: true},
		{name: "by-hand-bundle-1.24.5", facts: []string{"D4"}, spec: coldRelease("1.24.5"), by: bundle},
		{name: "by-hand-agents-1.20.0", facts: []string{"D1"}, spec: both(release("1.20.0"), slowFiles), by: threePhases, breaks: true},
		{name: "by-hand-agents-1.20.1", facts: []string{"D1"}, spec: both(release("1.20.1"), slowFiles), by: threePhases},
		{name: "by-hand-virtual-machine", facts: []string{"B6"}, spec: func(_ *bench, s *rehearsal.Spec) { s.VMs = []string{"vm"} }, by: threePhases, breaks: true},
		{name: "by-hand-ztunnel-1.24.5", facts: []string{"D5"}, spec: beside(rehearsal.Workload{Kind: mesh.Ztunnel, Release: "1.24.5"}), by: bundleBehind, breaks: true},
		{name: "by-hand-ztunnel-1.24.6", facts: []string{"D5"}, spec: beside(rehearsal.Workload{Kind: mesh.Ztunnel, Release: "1.24.6"}), by: bundleBehind},
		{name: "by-hand-ztunnel-1.28.5", facts: []string{"D5"}, spec: beside(rehearsal.Workload{Kind: mesh.Ztunnel, Release: "1.28.5"}), by: threePhases, breaks: true},
		{name: "by-hand-ztunnel-1.28.6", facts: []string{"D5"}, spec: beside(rehearsal.Workload{Kind: mesh.Ztunnel, Release: "1.28.6"}), by: threePhases},
		{name: "by-hand-cacerts-beside-self-signed", facts: []string{"A2", "A5", "H5.5"}, spec: selfSigned, by: cacerts, breaks: true},
		{name: "by-hand-istio-ca-secret-overwritten", facts: []string{"C3", "H5.2"}, spec: selfSigned, by: overwritten, breaks: true},
		{name: "self-signed", facts: []string{"A2"}, spec: selfSigned, strategy: rotation.BundleByRenewal, finds: []string{"ca-self-signed"}},
	}
}

func beside2(w rehearsal.Workload) func(*bench, *rehearsal.Spec) {
	return func(_ *bench, s *rehearsal.Spec) {
		w.Namespace, w.Name, w.Proxies = "a", "second", 1
		s.Workloads = append(s.Workloads, w)
	}
}

func foreign(b *bench, s *rehearsal.Spec) { s.Extra = []*pki.Certificate{b.foreign.Cert} }

func slowFiles(_ *bench, s *rehearsal.Spec) { s.FileLag = 90 * time.Second }
