package scenario_test

import (
	"errors"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// shapeRows are meshes of other shapes.
func shapeRows() []row {
	short := func(_ *bench, s *rehearsal.Spec) { s.Proxies = 1 }
	return []row{
		{name: "hot-native-sidecars", facts: []string{"D1"}, spec: alone(rehearsal.Workload{Native: true}), strategy: rotation.HotBundle},
		{name: "hot-cluster-trust-bundle", facts: []string{"B4", "G-cluster-trust-bundle"}, spec: both(short, env("ENABLE_CLUSTER_TRUST_BUNDLE_API", "true")), strategy: rotation.HotBundle, finds: []string{"cluster-trust-bundle"}},
		{name: "hot-renamed-configmap", facts: []string{"B4"}, spec: both(short, env("PILOT_CA_CERT_CONFIGMAP", "roots")), strategy: rotation.HotBundle},
		{name: "hot-roots-in-mesh-config", facts: []string{"B5"}, spec: both(short, meshRoots(func(b *bench) *pki.Certificate { return b.foreign.Cert })), strategy: rotation.HotBundle},
		{name: "old-root-in-mesh-config", facts: []string{"B5"}, spec: meshRoots(func(b *bench) *pki.Certificate { return b.oldRoot.Cert }), refused: "old-root-in-mesh-config"},
		{name: "prov-cert", facts: []string{"B6"}, spec: beside(rehearsal.Workload{Env: map[string]string{"PROV_CERT": "/etc/certs"}}), only: true, refused: "", finds: []string{"reach-restart", "static-client-roots"}},
		{name: "intermediate", facts: []string{"B2"}, spec: cold, newCA: sameRoot, strategy: rotation.Intermediate},
		{name: "intermediate-hot", facts: []string{"B2", "D2"}, newCA: sameRoot, strategy: rotation.Intermediate},
		{name: "adopt-cross", facts: []string{"A5", "B6", "S3"}, spec: selfSigned, cross: true, strategy: rotation.CrossSign},
		{name: "restart-in-waves", facts: []string{"D2"}, spec: alone(rehearsal.Workload{Cold: true}), newCA: func(b *bench) { b.trial.Config.Strategy = rotation.BundleByRestart }, strategy: rotation.BundleByRestart},
		{name: "ztunnel-of-chains-in-one-piece", facts: []string{"D4", "G-flattens"}, spec: both(coldRelease("1.24.3"), beside(rehearsal.Workload{Kind: mesh.Ztunnel, Release: "1.30.3"})), cross: true, override: []string{rotation.Ambient}, strategy: rotation.BundleByRenewal},
		{name: "ztunnel-untested", facts: []string{"D5", "E5"}, spec: beside(rehearsal.Workload{Kind: mesh.Ztunnel}), override: []string{rotation.Ambient}, strategy: rotation.BundleByRenewal},

		// CAs that are not taken.
		{name: "partial-cacerts-1.26.0", facts: []string{"A2", "G-incomplete-cacerts"}, spec: both(selfSigned, release("1.26.0")), spoil: partial, refused: "self-signed-bundle"},
		{name: "partial-cacerts-1.26.1", facts: []string{"A2", "G-incomplete-cacerts"}, spec: both(selfSigned, release("1.26.1")), spoil: partial, refused: "ca-unreadable"},
		{name: "key-mismatch", facts: []string{"A3"}, spoil: secret(func(s *corev1.Secret) { s.Data[pki.KeyFile] = otherKey() }), refused: "key-mismatch", finds: []string{"ca-wrong-key"}},
		{name: "bundle-in-istio-ca-secret", facts: []string{"A6"}, spec: selfSigned, spoil: func(b *bench) {
			b.change("istio-ca-secret", func(s *corev1.Secret) {
				s.Data[pki.CertFile] = append(s.Data[pki.CertFile], b.foreign.Cert.PEM()...)
			})
			time.Sleep(3 * time.Hour)
		}, refused: "self-signed-bundle"},
		{name: "cut-over-waits", facts: []string{"B2", "H5.3"}, spec: cold, spoil: func(b *bench) { b.write(b.new, b.new.Roots.Certs[0]); time.Sleep(time.Minute) }, only: true, finds: []string{"ca-waits"}},
		{name: "broken-already", facts: []string{"H1"}, spec: both(cold, beside(rehearsal.Workload{TTL: 3 * ttl})), spoil: func(b *bench) { oneStep(b); time.Sleep(ttl) }, broken: true, only: true, finds: []string{"handshake-refused"}},

		{name: "istiod-in-rollout", facts: []string{"H1"}, spoil: func(b *bench) { b.restart(); time.Sleep(time.Second) }, refused: "istiod-rollout"},

		// New CAs that are not taken.
		{name: "same-name", facts: []string{"H0"}, newCA: func(b *bench) { b.newRoot, b.new = b.ca("A"); b.trial.Config.New = b.new }, strategy: rotation.HotBundle},
		{name: "new-ca-not-yet-valid", facts: []string{"H1"}, newCA: func(b *bench) {
			root, err := pki.NewRoot(pki.Request{Subject: name("root C"), Now: time.Now().Add(48 * time.Hour)})
			b.must(err)
			b.new, err = root.NewIntermediate(pki.Request{Subject: name("intermediate C"), Now: time.Now().Add(48 * time.Hour)})
			b.must(err)
			b.trial.Config.New = b.new
		}, refused: "not-yet-valid"},
		{name: "cross-by-another-root", facts: []string{"S3"}, spec: cold, newCA: func(b *bench) {
			cross, err := b.foreign.CrossSign(b.newRoot.Cert, time.Now())
			b.must(err)
			b.trial.Config.Cross, b.trial.Config.Strategy = cross, rotation.CrossSign
		}, refused: "chain-refused"},
		{name: "old-agent-without-cross", facts: []string{"D1", "G-1.20.1"}, spec: both(cold, beside(rehearsal.Workload{Release: "1.20.0"})), newCA: func(b *bench) { b.trial.Config.Strategy = rotation.BundleByRenewal }, refused: "no-bundle-by-renewal"},
		{name: "old-agent-no-file-wait", facts: []string{"D1", "G-1.20.1"}, spec: beside(rehearsal.Workload{Release: "1.20.0"}), cross: true, newCA: func(b *bench) { b.trial.Config.TrustFileWait = 0 }, refused: "trust-file-wait"},
	}
}

// gateRows are gates that something keeps closed.
func gateRows() []row {
	hang := func(b *bench) { b.must(b.mesh.Hang("b/app-1")) }
	hold := func(b *bench) { b.mesh.Hold(1) }
	unasked := func(b *bench) { b.trial.Config.CSRProof = false } // the chain on 15012 alone tells
	return []row{
		{name: "replica-held-before-the-signer", facts: []string{"F", "H3"}, after: rotation.TrustNew, meanwhile: hold, closed: rotation.SignNew, blocker: "istiod-1-2"},
		{name: "unasked-replica-held-before-the-signer", facts: []string{"F", "H3"}, after: rotation.TrustNew, spoil: unasked, meanwhile: hold, closed: rotation.SignNew, blocker: "istiod-1-2"},
		{name: "replica-held-before-the-chain", facts: []string{"F", "S3"}, spec: cold, cross: true, after: rotation.SwapTrust, meanwhile: hold, closed: rotation.DropCross, blocker: "istiod-1-"},
		{name: "agent-hung-before-the-end", facts: []string{"E2", "H4", "H5.7"}, after: rotation.SignNew, meanwhile: hang, closed: rotation.DistrustOld, blocker: "b/app-1"},
		{name: "intermediate-hung-agent", facts: []string{"E2"}, newCA: sameRoot, spoil: hang, closed: rotation.SignNew, blocker: "b/app-1"},
		{name: "agent-without-a-leaf", facts: []string{"E5", "G-drops-valid-leaf"}, spec: beside(rehearsal.Workload{Kind: mesh.Ztunnel, Release: "1.27.9"}), override: []string{rotation.Ambient}, broken: true, spoil: func(b *bench) {
			b.mesh.Away(true)
			time.Sleep(ttl * 3 / 5)
		}, closed: rotation.Prepare, blocker: "Unavailable"},
		{name: "agent-never-answered", facts: []string{"E5"}, broken: true, spoil: func(b *bench) {
			b.mesh.Away(true)
			b.must(b.mesh.StartProxy("b", "bare"))
			b.must(b.mesh.Hang("b/bare"))
			b.mesh.Away(false)
		}, closed: rotation.Prepare, blocker: "proxy b/bare: unreadable: the proxy's config dump holds no mesh certificate"},
		{name: "webhook-of-nobody", facts: []string{"B4"}, spoil: func(b *bench) {
			b.hook(map[string]string{"istio": "istiod"}, b.foreign.Cert)
		}, closed: rotation.Prepare, blocker: "left/left.istio.io"},
		{name: "webhook-of-a-revision-that-is-gone", facts: []string{"B4"}, spoil: func(b *bench) {
			b.hook(map[string]string{"istio.io/rev": "gone"}, b.oldRoot.Cert)
		}, refused: "webhook-orphaned", finds: []string{"webhook-orphaned"}},
		{name: "unread-from-the-start", facts: []string{"E3", "H4"}, spec: both(cold, beside(rehearsal.Workload{TTL: 3 * ttl})), spoil: func(b *bench) {
			b.trial.Accept = map[string]string{}
			for _, ref := range b.mesh.Workload("b", "other") {
				b.mesh.Freeze(ref)
				b.trial.Accept[ref] = "it is looked at by hand"
			}
		}, strategy: rotation.BundleByRenewal},
		{name: "unread-and-accepted", facts: []string{"E3", "H4"}, spec: both(cold, beside(rehearsal.Workload{TTL: 3 * ttl})), after: rotation.TrustNew, meanwhile: func(b *bench) {
			b.trial.Accept = map[string]string{}
			for _, ref := range b.mesh.Workload("b", "other") {
				b.mesh.Freeze(ref)
				b.trial.Accept[ref] = "it is looked at by hand"
			}
		}, strategy: rotation.BundleByRenewal},
		{name: "somebody-else-writes", facts: []string{"H5.6"}, after: rotation.TrustNew, meanwhile: func(b *bench) {
			b.change("cacerts", func(s *corev1.Secret) { s.Data[pki.RootFile] = append(s.Data[pki.RootFile], b.foreign.Cert.PEM()...) })
		}, ends: func(err error) bool { return errors.Is(err, rotation.ErrForeign) }},
		{name: "killed-between-two-phases", facts: []string{"H3"}, after: rotation.TrustNew, meanwhile: func(b *bench) { b.trial.Holder = "another machine"; time.Sleep(time.Hour) }, strategy: rotation.HotBundle},
		{name: "closed-watch", faulty: true, spoil: func(b *bench) {
			b.mesh.Inject(rehearsal.Fault{Verb: "list", Resource: "pods", Skip: 9, Times: 3, Err: rehearsal.ErrWatchClosed})
		}, strategy: rotation.HotBundle},
	}
}

func sameRoot(b *bench) {
	signer, err := b.oldRoot.NewIntermediate(pki.Request{Subject: name("intermediate A2"), Now: time.Now()})
	b.must(err)
	b.new, b.newRoot = signer, b.oldRoot
	b.trial.Config.New = signer
}

// partial leaves a cacerts with nothing but roots behind; some day an istiod restarts.
func partial(b *bench) {
	b.create(&corev1.Secret{ObjectMeta: meta("cacerts", nil), Data: map[string][]byte{pki.RootFile: b.new.Roots.Raw}})
	time.Sleep(time.Minute)
	b.restart()
	time.Sleep(time.Minute)
}

func otherKey() []byte {
	key, err := pki.ECDSAP256.Generate()
	if err != nil {
		panic(err)
	}
	text, err := pki.MarshalKey(key)
	if err != nil {
		panic(err)
	}
	return text
}

// hook makes a webhook with these labels that calls istiod and that no istiod writes.
func (b *bench) hook(labels map[string]string, root *pki.Certificate) {
	b.t.Helper()
	hook := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "left", Labels: labels}, Webhooks: []admissionv1.MutatingWebhook{{Name: "left.istio.io",
		ClientConfig: admissionv1.WebhookClientConfig{CABundle: root.PEM(), Service: &admissionv1.ServiceReference{Namespace: "istio-system", Name: "istiod"}}}}}
	_, err := b.mesh.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(b.ctx, hook, metav1.CreateOptions{})
	b.must(err)
}
