package rehearsal

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
)

// Clock is time as the mesh lives in it.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// Mesh is a mesh in memory.
type Mesh struct {
	Kube *fake.Clientset
	// Dynamic serves the kinds that client-go has no types for.
	Dynamic *dynamicfake.FakeDynamicClient
	clock   Clock
	spec    Spec

	ctx     context.Context
	mu      sync.Mutex
	istiods []*istiod
	proxies []*sidecar
	faults  faults
	planes  []*plane
	bundles map[string]pki.Bundle // parsed
	crls    map[string]*pki.CRLs  // parsed
	started int
	signed  Signed
	// numbered counts the proxies that ever were.
	numbered int
	truth    truth
	traffic  traffic
	// unjudged: something has changed since pairs were judged last.
	unjudged bool
	schedule *schedule
	// reads are the connections to pods that are open.
	reads atomic.Int64
	// accounts counts the ServiceAccounts that were removed.
	accounts atomic.Int64

	// Held are istiod pods whose files do not follow, Frozen proxies that do not
	// answer.
	// latest is the newest cacerts that was written.
	latest       *corev1.Secret
	held, frozen map[string]bool
	// citadel is the CA of a mesh of its time, nil in others.
	citadel *citadel
	// ends are when certificates of CAs do, as far as they were met.
	ends map[time.Time]bool
	away bool // no istiod answers
	// byRef finds a proxy.
	byRef map[string]*sidecar
}

// Failure is a pair that would not have come to an understanding.
type Failure struct {
	At             time.Time
	Client, Server string
	Reason         string
}

const istioNamespace = "istio-system"

// New starts a mesh that lives until ctx ends.
func New(ctx context.Context, clock Clock, spec Spec) (*Mesh, error) {
	m := bare(ctx, clock, spec)
	m.planes = planesOf(spec)
	m.serve()
	secret, err := m.caSecret()
	if err != nil {
		return nil, err
	}
	objects := []runtime.Object{secret, namespace(istioNamespace, ""), namespace("kube-system", ""), m.node()}
	for _, p := range m.planes {
		objects = append(objects, p.object(), p.webhook())
	}
	if len(spec.MeshCA) > 0 || spec.TrustDomain != "" {
		objects = append(objects, m.meshConfig())
	}
	if err := m.hold(objects); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.planes {
		for range p.Replicas {
			if err := m.startIstiod(p); err != nil {
				return nil, err
			}
		}
	}
	m.publish(m.istiods[0])
	m.publishCRL(m.istiods[0])
	for _, i := range m.istiods {
		m.patchWebhooks(i)
	}
	if err := m.populate(); err != nil {
		return nil, err
	}
	m.live()
	return m, nil
}

// bare is a mesh with nothing in it.
func bare(ctx context.Context, clock Clock, spec Spec) *Mesh {
	// The other fake clientset keeps managed fields, which nobody here reads, and makes
	// a REST mapper of every kind there is for each write.
	kube := fake.NewSimpleClientset() //nolint:staticcheck // SA1019: see above
	return &Mesh{Kube: kube, Dynamic: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), listKinds()), clock: clock, spec: spec, ctx: ctx, held: map[string]bool{}, frozen: map[string]bool{}, byRef: map[string]*sidecar{},
		truth: newTruth(), schedule: newSchedule(clock), bundles: map[string]pki.Bundle{}, crls: map[string]*pki.CRLs{}}
}

// hold puts these objects into the API server, and those of namespaces and workloads.
func (m *Mesh) hold(objects []runtime.Object) error {
	for _, n := range m.meshed() {
		objects = append(objects, namespace(n, "enabled"))
	}
	for _, w := range controlled(m.spec.Workloads) {
		if o := m.controller(w); o != nil {
			objects = append(objects, o)
		}
	}
	for _, o := range objects {
		if err := m.Kube.Tracker().Add(o); err != nil {
			return fmt.Errorf("rehearsal: %w", err)
		}
	}
	return nil
}

// controlled are the workloads by their controller: its pods may differ, for one has not
// followed, or does not answer.
func controlled(workloads []Workload) (all []Workload) {
	index := map[[3]string]int{}
	for _, w := range workloads {
		key := [3]string{w.Namespace, w.Name, w.Controller}
		at, ok := index[key]
		if !ok {
			index[key] = len(all)
			all = append(all, w)
			continue
		}
		all[at].Proxies += w.Proxies
	}
	return all
}

// live has the mesh's proxies meet, and its time pass.
func (m *Mesh) live() {
	if paced, ok := m.clock.(*Paced); ok {
		paced.Follow(func(now time.Time) bool { return m.reads.Load() > 0 || m.schedule.behind(now) })
	}
	m.shake()
	m.traffic.settle(m.clock.Now())
	go m.schedule.run(m.ctx, m.idle)
}

// populate starts all proxies.
func (m *Mesh) populate() error {
	for _, n := range m.spec.Namespaces {
		for i := range m.spec.Proxies {
			if err := m.startProxy(n, fmt.Sprintf("app-%d", i)); err != nil {
				return err
			}
		}
	}
	for _, w := range m.spec.Workloads {
		if err := m.startWorkload(w); err != nil {
			return err
		}
	}
	for _, name := range m.spec.VMs {
		if err := m.register(name); err != nil {
			return err
		}
	}
	for _, name := range slices.Concat(m.spec.VMs, m.spec.Unregistered) {
		m.startVM(name)
	}
	return nil
}

// caSecret is the CA as the mesh's istiods find it.
func (m *Mesh) caSecret() (*corev1.Secret, error) {
	spec := m.spec
	roots := pki.NewBundle(slices.Concat(spec.Ahead, []*pki.Certificate{spec.CA.Roots.Certs[0]}, spec.Extra)...)
	files, err := spec.CA.Files()
	if err != nil {
		return nil, err
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: istioNamespace, Name: pluggedSecret, UID: pluggedSecret, ResourceVersion: "1", CreationTimestamp: metav1.NewTime(m.clock.Now().Add(-time.Hour))},
		Type: corev1.SecretTypeOpaque, Data: map[string][]byte{}}
	switch spec.Source {
	case mesh.CASelfSigned:
		secret.Name, secret.UID, secret.Type = selfSignedSecret, selfSignedSecret, "istio.io/ca-root"
		secret.Data[pki.CertFile], secret.Data[pki.KeyFile] = roots.Raw, files.CAKey.Data
		secret.Data[pki.ChainFile], secret.Data[pki.RootFile] = nil, roots.Raw
	case mesh.CAPluggedTLS:
		secret.Type = corev1.SecretTypeTLS
		chain := pki.NewBundle(append([]*pki.Certificate{spec.CA.Cert}, spec.CA.Chain...)...)
		secret.Data["tls.crt"], secret.Data["tls.key"], secret.Data["ca.crt"] = chain.Raw, files.CAKey.Data, roots.Raw
	default:
		files.Root.Data = roots.Raw
		for _, f := range files.All() {
			secret.Data[f.Name] = f.Data
		}
		if len(spec.CRL) > 0 {
			secret.Data[pki.CRLFile] = spec.CRL
		}
	}
	return secret, nil
}

// Failures are the pairs that have failed so far, and how many were judged.
func (m *Mesh) Failures() ([]Failure, int) {
	m.idle()
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.truth.failed), m.truth.judged
}

// Hold keeps an istiod's files as they are, by the position of its pod.
func (m *Mesh) Hold(replica int) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := m.istiods[replica].name
	m.held[name] = true
	return name
}

// Freeze lets a proxy answer nobody who asks its admin port.
func (m *Mesh) Freeze(ref string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.frozen[ref] = true
}

// Thaw takes Freeze back.
func (m *Mesh) Thaw(ref string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.frozen, ref)
}

// Away has no istiod answer any proxy, until it is taken back.
func (m *Mesh) Away(away bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away = away
}

// meshed are the namespaces with injection.
func (m *Mesh) meshed() []string {
	all := slices.DeleteFunc(slices.Clone(m.spec.Namespaces), func(n string) bool { return n == istioNamespace || n == "kube-system" })
	for _, w := range m.spec.Workloads {
		if !slices.Contains(all, w.Namespace) && w.Namespace != istioNamespace {
			all = append(all, w.Namespace)
		}
	}
	return all
}

// listKinds are the kinds of the mesh that only the dynamic client knows.
func listKinds() map[schema.GroupVersionResource]string {
	return map[schema.GroupVersionResource]string{
		{Group: "networking.istio.io", Version: "v1", Resource: "workloadentries"}:          "WorkloadEntryList",
		certManagerKind("certificates"):                                                     "CertificateList",
		certManagerKind("issuers"):                                                          "IssuerList",
		certManagerKind("clusterissuers"):                                                   "ClusterIssuerList",
		{Group: "certificates.k8s.io", Version: "v1beta1", Resource: "clustertrustbundles"}: "ClusterTrustBundleList",
	}
}

func namespace(name, injection string) *corev1.Namespace {
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}
	if injection != "" {
		n.Labels = map[string]string{"istio-injection": injection}
	}
	return n
}

func (m *Mesh) node() *corev1.Node {
	now := metav1.NewTime(m.clock.Now())
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: now}}}}
}

// publish writes the trust ConfigMap of every namespace, as the leader does; one
// that is immutable stays as it is. Agents' files follow.
func (m *Mesh) publish(leader *istiod) {
	if leader.plane.bundles() {
		m.publishBundle(leader)
		return
	}
	served := append(m.meshed(), istioNamespace)
	if m.spec.SystemTrust {
		served = append(served, "kube-system")
	}
	for _, n := range served {
		object, err := m.Kube.Tracker().Get(configMaps(), n, m.trustName())
		cm, _ := object.(*corev1.ConfigMap)
		switch {
		case err != nil:
			cm = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: m.trustName(), Namespace: n, ResourceVersion: "1", Labels: map[string]string{"istio.io/config": "true"}}, Data: map[string]string{pki.RootFile: string(leader.roots)}}
			_ = m.Kube.Tracker().Create(configMaps(), cm, n) // the namespace may be gone
		case cm.Immutable != nil && *cm.Immutable || cm.Data[pki.RootFile] == string(leader.roots):
			continue
		default:
			cm = cm.DeepCopy()
			cm.Data = map[string]string{pki.RootFile: string(leader.roots)}
			cm.ResourceVersion = versionOf(cm.ResourceVersion)
			_ = m.Kube.Tracker().Update(configMaps(), cm, n)
		}
		if m.spec.FileLag <= 0 {
			m.refresh(n)
			continue
		}
		m.after(m.spec.FileLag, func() { m.refresh(n) })
	}
}

// refresh brings a namespace's trust ConfigMap to its agents' files.
func (m *Mesh) refresh(namespace string) {
	file := m.trustFile(namespace)
	for _, p := range m.proxies {
		if p.namespace == namespace && !p.vm {
			p.file = file
		}
	}
}

func (m *Mesh) trustFile(namespace string) []*pki.Certificate {
	if m.planes[0].bundles() {
		return m.bundleFile()
	}
	object, err := m.Kube.Tracker().Get(configMaps(), namespace, m.trustName())
	if err != nil {
		return nil // a pod without it does not start
	}
	bundle, err := m.parsed(object.(*corev1.ConfigMap).Data[pki.RootFile])
	if err != nil {
		return nil
	}
	return bundle.Certs
}

const trustConfigMap = "istio-ca-root-cert"

// trustName is what the default control plane calls it (since 1.27.0).
func (m *Mesh) trustName() string {
	if name := m.planes[0].Env["PILOT_CA_CERT_CONFIGMAP"]; name != "" && fixed(m.planes[0].Release, "1.27.0") {
		return name
	}
	return trustConfigMap
}

func configMaps() schema.GroupVersionResource {
	return corev1.SchemeGroupVersion.WithResource("configmaps")
}

// random is a share of d, none where nothing is drawn.
func (m *Mesh) random(d time.Duration) time.Duration {
	if m.spec.Random == nil || d <= 0 {
		return 0
	}
	return time.Duration(m.spec.Random.Int64N(int64(d)))
}

// after runs f, with the mesh to itself, when d has passed, unless the mesh has
// ended. Every event is judged by itself, as what happens at one moment here comes
// one after another in a mesh; in large meshes only what stands at the end of a
// moment is.
func (m *Mesh) after(d time.Duration, f func()) {
	m.schedule.after(d, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.ctx.Err() == nil {
			f()
			if len(m.proxies) <= pairwise {
				m.settle()
			}
		}
	})
}

// idle judges what the last events have changed.
func (m *Mesh) idle() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settle()
}

func (m *Mesh) settle() {
	if m.unjudged && m.ctx.Err() == nil {
		m.traffic.settle(m.clock.Now())
		m.shake()
		m.traffic.settle(m.clock.Now())
		m.forget()
	}
}

// change has all pairs judged anew, once what else happens at this moment has.
func (m *Mesh) change() {
	m.unjudged = true
	m.schedule.after(0, func() {})
}

// versionOf counts an object's changes.
func versionOf(old string) string {
	n := 0
	fmt.Sscan(strings.TrimSpace(old), &n)
	return fmt.Sprint(n + 1)
}
