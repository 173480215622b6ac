package scenario_test

import (
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func meta(name string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "istio-system", Name: name, Labels: labels}
}

// secret changes cacerts before anything else happens.
func secret(change func(*corev1.Secret)) func(*bench) {
	return func(b *bench) { b.change("cacerts", change) }
}

func (b *bench) change(name string, change func(*corev1.Secret)) {
	b.t.Helper()
	secrets := b.mesh.Kube.CoreV1().Secrets("istio-system")
	s, err := secrets.Get(b.ctx, name, metav1.GetOptions{})
	b.must(err)
	change(s)
	_, err = secrets.Update(b.ctx, s, metav1.UpdateOptions{})
	b.must(err)
}

func (b *bench) create(s *corev1.Secret) {
	b.t.Helper()
	_, err := b.mesh.Kube.CoreV1().Secrets("istio-system").Create(b.ctx, s, metav1.CreateOptions{})
	b.must(err)
}

// configMap puts a foreign root where nobody can mend it.
func configMap(b *bench) {
	maps := b.mesh.Kube.CoreV1().ConfigMaps("b")
	cm, err := maps.Get(b.ctx, "istio-ca-root-cert", metav1.GetOptions{})
	b.must(err)
	yes := true
	cm.Immutable, cm.Data = &yes, map[string]string{pki.RootFile: string(b.foreign.Cert.PEM())}
	_, err = maps.Update(b.ctx, cm, metav1.UpdateOptions{})
	b.must(err)
}

// write lays a CA out in cacerts.
func (b *bench) write(signer *pki.Authority, roots ...*pki.Certificate) {
	b.t.Helper()
	b.change("cacerts", func(s *corev1.Secret) {
		key, err := signer.KeyPEM()
		b.must(err)
		s.Data[pki.CertFile], s.Data[pki.KeyFile], s.Data[pki.ChainFile] = signer.Cert.PEM(), key, signer.Cert.PEM()
		s.Data[pki.RootFile] = pki.NewBundle(roots...).Raw
	})
}

func (b *bench) restart() {
	b.t.Helper()
	patch := []byte(`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}`)
	_, err := b.mesh.Kube.AppsV1().Deployments("istio-system").Patch(b.ctx, "istiod", "application/strategic-merge-patch+json", patch, metav1.PatchOptions{})
	b.must(err)
}

// threePhases is the procedure of istio's own tests, with all the time there is.
func threePhases(b *bench) {
	old, next := b.oldRoot.Cert, b.new.Roots.Certs[0]
	b.write(b.old, old, next)
	time.Sleep(2 * ttl)
	b.write(b.new, old, next)
	time.Sleep(2 * ttl)
	b.write(b.new, next)
}

// oneStep replaces everything at once; some day an istiod restarts.
func oneStep(b *bench) {
	b.write(b.new, b.new.Roots.Certs[0])
	time.Sleep(time.Minute)
	b.restart()
}

func together(b *bench) { b.write(b.new, b.oldRoot.Cert, b.new.Roots.Certs[0]) }

// reordered swaps the roots of a bundle of two, adds a third, and some day an istiod
// restarts; the signer follows once everybody should trust it.
func reordered(b *bench) {
	old, next := b.oldRoot.Cert, b.new.Roots.Certs[0]
	b.write(b.old, next, b.foreign.Cert, old)
	time.Sleep(time.Minute)
	b.write(b.new, next, b.foreign.Cert, old)
	time.Sleep(2 * ttl)
	b.write(b.new, next, b.foreign.Cert)
	b.restart()
}

func bundle(b *bench) { b.write(b.old, b.oldRoot.Cert, b.new.Roots.Certs[0]) }

// bundleBehind puts the new root first, which is all that some see.
func bundleBehind(b *bench) { b.write(b.old, b.new.Roots.Certs[0], b.oldRoot.Cert) }

// cacerts is made "to be ready"; some day an istiod restarts.
func cacerts(b *bench) {
	key, err := b.new.KeyPEM()
	b.must(err)
	b.create(&corev1.Secret{ObjectMeta: meta("cacerts", nil), Data: map[string][]byte{
		pki.CertFile: b.new.Cert.PEM(), pki.KeyFile: key, pki.ChainFile: b.new.Cert.PEM(), pki.RootFile: b.new.Roots.Raw,
	}})
	time.Sleep(time.Minute)
	b.restart()
}

// overwritten: the rotator takes it within two hours, and asks nobody.
func overwritten(b *bench) {
	b.change("istio-ca-secret", func(s *corev1.Secret) {
		key, err := b.newRoot.KeyPEM()
		b.must(err)
		s.Data[pki.CertFile], s.Data[pki.KeyFile] = b.newRoot.Cert.PEM(), key
	})
	time.Sleep(3 * time.Hour)
}
