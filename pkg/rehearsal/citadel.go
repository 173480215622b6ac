package rehearsal

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// CitadelSpec is a mesh of Istio 1.0 to 1.4, by the rules of its source (istio 1.1.8
// and 1.4.10):
//   - it loads istio-ca-secret at its start (security/pkg/pki/ca/ca.go,
//     NewSelfSignedIstioCAOptions), and issues a Secret istio.SERVICEACCOUNT for
//     every service account that has none;
//   - once a minute, first a minute after its start, it looks at those that are there
//     (its informer has no AddFunc), and issues those anew whose root-cert.pem is not
//     its root, byte for byte, or whose certificate is about to end (seen of a real
//     1.4.10; security/pkg/k8s/controller/workloadsecret.go at 1.1.8:55, 384-397);
//   - from 1.2.9, 1.3.5 and 1.4.0 on it takes istio-ca-secret again where a Secret has
//     another root than itself (workloadsecret.go at 1.4.10, tryToSyncKeyCertBundle),
//     and once an hour: then it also certifies its root anew, with the key that it has,
//     where a fifth of its life is left (security/pkg/pki/ca/selfsignedcarootcertrotator.go);
//   - the agent watches the folder that the Secret is mounted at, and restarts Envoy;
//     1.1.3 to 1.1.7 watch the files and miss the change (pull request 14540).
type CitadelSpec struct {
	CA *pki.Authority
	// Release is Citadel's, and the sidecars' where a Workload names no other.
	Release   string
	Workloads []Workload
	// TTL of leaves, and Lag of kubelet's mounted Secrets.
	TTL, Lag time.Duration
	// Resync is how often it looks at its Secrets; zero is its own minute.
	Resync time.Duration
	// Secured is controlPlaneAuthPolicy: MUTUAL_TLS. Pilot has no sidecar here.
	Secured bool
	// Unrotated is CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL=0: it does not renew
	// its root, though its release would.
	Unrotated bool
}

// citadel is the one CA of such a mesh.
type citadel struct {
	mesh   *Mesh
	signer *pki.Authority
	number int // of its process
	// rereads: it takes istio-ca-secret again where a Secret has another root; rotates:
	// it renews its root itself.
	rereads, rotates bool
	resync           time.Duration
	// written are the certificates of each account, as its Secret holds them.
	written map[string]*issued
}

type issued struct {
	key   crypto.Signer
	chain []*pki.Certificate
	roots []*pki.Certificate
	raw   []byte // root-cert.pem
	// since is when pods' files hold it.
	since time.Time
}

const (
	citadelDeployment = "istio-citadel"
	citadelResync     = time.Minute
	citadelRotator    = time.Hour
	// What the rotator's new root lives, and the fifth of a life before whose start it
	// makes none (istio 1.4.10 security/pkg/cmd/constants.go:21-29).
	rotatedLife  = 3650 * 24 * time.Hour
	rotatedGrace = 5
	keyAndCert   = "istio.io/key-and-cert"
)

// NewCitadel starts a mesh of Citadel's time that lives until ctx ends.
func NewCitadel(ctx context.Context, clock Clock, spec CitadelSpec) (*Mesh, error) {
	m := bare(ctx, clock, Spec{CA: spec.CA, Source: mesh.CASelfSigned, Release: spec.Release, TTL: spec.TTL, Lag: spec.Lag, Workloads: spec.Workloads})
	rereads := mesh.RenewsRoot(spec.Release)
	m.citadel = &citadel{mesh: m, rereads: rereads, rotates: rereads && !spec.Unrotated, resync: cmp.Or(spec.Resync, citadelResync), written: map[string]*issued{}}
	m.serve()
	secret, err := m.caSecret()
	if err != nil {
		return nil, err
	}
	delete(secret.Data, pki.RootFile) // it stands there from 1.20 on
	objects := []runtime.Object{secret, namespace(istioNamespace, ""), namespace("kube-system", ""), m.node(), m.citadel.object(), m.citadel.injector()}
	policy := "NONE"
	if spec.Secured {
		policy = "MUTUAL_TLS"
	}
	objects = append(objects, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: istioNamespace, Name: "istio", ResourceVersion: "1"},
		Data: map[string]string{"mesh": "authPolicy: MUTUAL_TLS\ndefaultConfig:\n  controlPlaneAuthPolicy: " + policy + "\n"}})
	for _, role := range []string{"pilot", "galley", "sidecar-injector"} {
		objects = append(objects, m.citadel.component(role))
	}
	if err := m.hold(objects); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.citadel.start(); err != nil {
		return nil, err
	}
	for _, w := range spec.Workloads {
		if err := m.startWorkload(w); err != nil {
			return nil, err
		}
	}
	m.live()
	return m, nil
}

func citadelLabels() map[string]string { return map[string]string{"istio": "citadel"} }

func (c *citadel) container() corev1.Container {
	container := corev1.Container{Name: "citadel", Image: "istio/citadel:" + c.mesh.spec.Release, Args: []string{"--self-signed-ca=true", "--workload-cert-ttl=" + c.mesh.spec.TTL.String()}}
	if !c.rotates {
		container.Env = []corev1.EnvVar{{Name: "CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL", Value: "0"}}
	}
	return container
}

func (c *citadel) object() *appsv1.Deployment {
	one := int32(1)
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: istioNamespace, Name: citadelDeployment, Labels: citadelLabels(), Generation: 1, ResourceVersion: "1"}}
	d.Spec.Replicas, d.Spec.Selector = &one, &metav1.LabelSelector{MatchLabels: citadelLabels()}
	d.Spec.Template.Labels = citadelLabels()
	d.Spec.Template.Spec.Containers = []corev1.Container{c.container()}
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1}
	return d
}

// injector has the root of its start as its caBundle, and keeps it.
func (c *citadel) injector() *admissionv1.MutatingWebhookConfiguration {
	return &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "istio-sidecar-injector", ResourceVersion: "1"},
		Webhooks: []admissionv1.MutatingWebhook{{Name: "sidecar-injector.istio.io", ClientConfig: admissionv1.WebhookClientConfig{
			Service: &admissionv1.ServiceReference{Namespace: istioNamespace, Name: "istio-sidecar-injector"}, CABundle: c.mesh.spec.CA.Roots.Raw}}}}
}

// component has run for an hour, or since there is a root to be read, and keeps what it
// has read at its start: Pilot starts with nothing less (istio 1.4.10
// pilot/pkg/bootstrap/server.go, initSecureGrpcServer).
func (c *citadel) component(role string) *corev1.Pod {
	pod := c.pod("istio-"+role, map[string]string{"istio": role}, corev1.Container{Name: role, Image: "istio/" + role + ":" + c.mesh.spec.Release})
	if started := metav1.NewTime(pod.Status.StartTime.Add(-time.Hour)); !started.Time.Before(c.mesh.spec.CA.Cert.X509.NotBefore.Add(pki.Backdating)) {
		pod.Status.StartTime = &started
	}
	return pod
}

func (c *citadel) pod(name string, labels map[string]string, container corev1.Container) *corev1.Pod {
	started := metav1.NewTime(c.mesh.clock.Now())
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: istioNamespace, Name: name, UID: types.UID(name), Labels: labels, ResourceVersion: "1"}}
	pod.Spec.NodeName, pod.Spec.Containers = nodeName, []corev1.Container{container}
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &started, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	return pod
}

// start starts Citadel, which loads its Secret now, and issues what is missing.
func (c *citadel) start() error {
	secret, err := c.mesh.secret(selfSignedSecret)
	if err != nil {
		return err
	}
	if c.signer, err = pki.ParseFiles(files(secret)); err != nil {
		return fmt.Errorf("citadel does not start: %w", err)
	}
	c.number++
	process := c.number
	c.mesh.after(c.resync, func() { c.tick(process) })
	c.mesh.after(citadelRotator, func() { c.rotate(process) })
	labels := citadelLabels()
	labels["pod-template-hash"] = "1"
	pod := c.pod(fmt.Sprintf("%s-1-%d", citadelDeployment, c.number), labels, c.container())
	controller := true
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: citadelDeployment + "-1", Controller: &controller}}
	if err := c.mesh.Kube.Tracker().Add(pod); err != nil {
		return err
	}
	for _, w := range c.mesh.spec.Workloads {
		if c.written[w.Namespace+"/"+w.account()] != nil {
			continue
		}
		if err := c.look(w.Namespace, w.account()); err != nil {
			return err
		}
	}
	return nil
}

// roll replaces Citadel's one pod.
func (c *citadel) roll() {
	c.mesh.rolling(istioNamespace, citadelDeployment, 0, 1)
	c.mesh.after(startup, func() {
		old := fmt.Sprintf("%s-1-%d", citadelDeployment, c.number)
		if c.start() != nil {
			return
		}
		_ = c.mesh.Kube.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), istioNamespace, old) // gone is gone
		c.mesh.rolling(istioNamespace, citadelDeployment, 1, 1)
	})
}

func (c *citadel) tick(process int) {
	if process != c.number {
		return
	}
	for _, w := range c.mesh.spec.Workloads {
		_ = c.look(w.Namespace, w.account()) // it tries again with the next resync
	}
	c.mesh.after(c.resync, func() { c.tick(process) })
}

// rotate takes what istio-ca-secret holds, or renews it.
func (c *citadel) rotate(process int) {
	if process != c.number || !c.rotates {
		return
	}
	_ = c.renew() // it tries again within the hour
	c.mesh.after(citadelRotator, func() { c.rotate(process) })
}

func (c *citadel) renew() error {
	secret, err := c.mesh.secret(selfSignedSecret)
	if err != nil {
		return err
	}
	held, err := pki.ParseFiles(files(secret))
	if err != nil {
		return err
	}
	now, root := c.mesh.clock.Now(), held.Cert.X509
	if root.NotAfter.Sub(now) >= root.NotAfter.Sub(root.NotBefore)/rotatedGrace {
		c.signer = held
		return nil
	}
	fresh, err := held.RenewRoot(now, rotatedLife)
	if err != nil {
		return err
	}
	secret = secret.DeepCopy()
	secret.Data[pki.CertFile], secret.ResourceVersion = fresh.Cert.PEM(), versionOf(secret.ResourceVersion)
	if err := c.mesh.Kube.Tracker().Update(corev1.SchemeGroupVersion.WithResource("secrets"), secret, istioNamespace); err != nil {
		return err
	}
	c.signer = fresh
	return nil
}

// look issues an account's Secret, or anew where its root is another or half of its
// certificate's life is over.
func (c *citadel) look(namespace, account string) error {
	m, now := c.mesh, c.mesh.clock.Now()
	there := c.written[namespace+"/"+account]
	if there != nil && c.rereads && !bytes.Equal(there.raw, c.signer.Roots.Raw) {
		secret, err := m.secret(selfSignedSecret)
		if err != nil {
			return err
		}
		if c.signer, err = pki.ParseFiles(files(secret)); err != nil {
			return err
		}
	}
	if there != nil {
		leaf := there.chain[0].X509
		half := leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
		if bytes.Equal(there.raw, c.signer.Roots.Raw) && now.Before(half) {
			return nil
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf, err := c.signer.IssueLeaf(pki.LeafRequest{SPIFFE: "spiffe://cluster.local/ns/" + namespace + "/sa/" + account, Public: key.Public(), Now: now, Lifetime: m.spec.TTL})
	if err != nil {
		return err
	}
	keyPEM, err := pki.MarshalKey(key)
	if err != nil {
		return err
	}
	fresh := &issued{key: key, chain: []*pki.Certificate{leaf}, roots: c.signer.Roots.Certs, raw: slices.Clone(c.signer.Roots.Raw), since: now.Add(m.spec.Lag)}
	name := "istio." + account
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, ResourceVersion: "1", CreationTimestamp: metav1.NewTime(now), Annotations: map[string]string{"istio.io/service-account.name": account}},
		Type: keyAndCert, Data: map[string][]byte{"cert-chain.pem": leaf.PEM(), "key.pem": keyPEM, "root-cert.pem": fresh.raw}}
	secrets := corev1.SchemeGroupVersion.WithResource("secrets")
	if there == nil {
		err = m.Kube.Tracker().Create(secrets, secret, namespace)
	} else {
		object, err2 := m.Kube.Tracker().Get(secrets, namespace, name)
		if err2 != nil {
			return err2
		}
		old := object.(*corev1.Secret)
		secret.CreationTimestamp, secret.ResourceVersion = old.CreationTimestamp, versionOf(old.ResourceVersion)
		err = m.Kube.Tracker().Update(secrets, secret, namespace)
	}
	if err != nil {
		return err
	}
	c.written[namespace+"/"+account] = fresh
	m.after(m.spec.Lag, func() { c.mounted(namespace, account, fresh) })
	return nil
}

// mounted: kubelet has brought an account's Secret to its pods' files.
func (c *citadel) mounted(namespace, account string, now *issued) {
	for _, p := range c.mesh.proxies {
		if p.namespace == namespace && p.account() == account && !p.hung && followsFiles(p.release()) {
			p.takes(now)
		}
	}
}

// takes loads mounted files: at its start, and by a restart of its Envoy.
func (p *sidecar) takes(files *issued) {
	p.chain, p.key, p.answered, p.updated = files.chain, files.key, files.roots, p.mesh.clock.Now()
	p.holds()
}

// followsFiles: the agent restarts Envoy on new files.
func followsFiles(agent string) bool {
	return mesh.Before(agent, "1.1.3") || !mesh.Before(agent, "1.1.8")
}
