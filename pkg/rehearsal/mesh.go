package rehearsal

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
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
	started int
	// numbered counts the proxies that ever were.
	numbered int
	truth    truth
	traffic  traffic
	// unjudged: something has changed since pairs were judged last.
	unjudged bool
	schedule *schedule

	// Held are istiod pods whose files do not follow, Frozen proxies that do not
	// answer.
	held, frozen map[string]bool
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
	m := &Mesh{Kube: fake.NewClientset(), Dynamic: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), listKinds()), clock: clock, spec: spec, ctx: ctx, held: map[string]bool{}, frozen: map[string]bool{},
		truth: truth{verdicts: map[asked]verdict{}}, schedule: newSchedule(clock)}
	m.lockVersions()
	roots := pki.NewBundle(append([]*pki.Certificate{spec.CA.Roots.Certs[0]}, spec.Extra...)...)
	files, err := spec.CA.Files()
	if err != nil {
		return nil, err
	}
	files.Root.Data = roots.Raw
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: istioNamespace, Name: "cacerts", UID: "cacerts", ResourceVersion: "1", CreationTimestamp: metav1.NewTime(clock.Now().Add(-time.Hour))},
		Type: corev1.SecretTypeOpaque, Data: map[string][]byte{}}
	for _, f := range files.All() {
		secret.Data[f.Name] = f.Data
	}
	objects := []runtime.Object{secret, namespace(istioNamespace, ""), namespace("kube-system", ""), m.deployment(), m.webhooks(), m.node()}
	for _, n := range m.meshed() {
		objects = append(objects, namespace(n, "enabled"))
	}
	for _, o := range objects {
		if err := m.Kube.Tracker().Add(o); err != nil {
			return nil, fmt.Errorf("rehearsal: %w", err)
		}
	}
	for range spec.Replicas {
		if err := m.startIstiod(); err != nil {
			return nil, err
		}
	}
	for _, n := range spec.Namespaces {
		for i := range spec.Proxies {
			if err := m.startProxy(n, fmt.Sprintf("app-%d", i)); err != nil {
				return nil, err
			}
		}
	}
	for _, w := range spec.Workloads {
		if err := m.startWorkload(w); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.publish(m.istiods[0])
	for _, i := range m.istiods {
		m.patchWebhooks(i)
	}
	m.shake()
	m.traffic.settle(clock.Now())
	go m.schedule.run(ctx, m.idle)
	return m, nil
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

// meshed are the namespaces with injection.
func (m *Mesh) meshed() []string {
	all := slices.Clone(m.spec.Namespaces)
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
		{Group: "networking.istio.io", Version: "v1", Resource: "workloadentries"}: "WorkloadEntryList",
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

func (m *Mesh) deployment() *appsv1.Deployment {
	n := int32(m.spec.Replicas)
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: istioNamespace, Name: "istiod", Labels: map[string]string{"app": "istiod", "istio.io/rev": "default"}, Generation: 1}}
	d.Spec.Replicas = &n
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"istio": "pilot"}}
	d.Spec.Template.Labels = map[string]string{"app": "istiod", "istio": "pilot"}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "discovery", Image: "istio/pilot:" + m.spec.Release, Env: []corev1.EnvVar{{Name: "ISTIO_MULTIROOT_MESH", Value: fmt.Sprint(m.spec.MultiRoot)}}}}
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n}
	return d
}

func (m *Mesh) webhooks() *admissionv1.MutatingWebhookConfiguration {
	return &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "istio-sidecar-injector", Labels: map[string]string{"istio.io/rev": "default"}},
		Webhooks: []admissionv1.MutatingWebhook{{Name: "namespace.sidecar-injector.istio.io", ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: istioNamespace, Name: "istiod"}}}}}
}

// publish writes the trust ConfigMap of every namespace, as the leader does;
// one that is immutable stays as it is.
func (m *Mesh) publish(leader *istiod) {
	namespaces, err := m.Kube.CoreV1().Namespaces().List(m.ctx, metav1.ListOptions{})
	if err != nil {
		return // the mesh is ending
	}
	for _, n := range namespaces.Items {
		if n.Name == "kube-system" {
			continue
		}
		maps := m.Kube.CoreV1().ConfigMaps(n.Name)
		data := map[string]string{pki.RootFile: string(leader.roots)}
		cm, err := maps.Get(m.ctx, "istio-ca-root-cert", metav1.GetOptions{})
		if err != nil {
			_, _ = maps.Create(m.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "istio-ca-root-cert", Namespace: n.Name}, Data: data}, metav1.CreateOptions{})
			continue
		}
		if cm.Immutable == nil || !*cm.Immutable {
			cm.Data = data
			_, _ = maps.Update(m.ctx, cm, metav1.UpdateOptions{})
		}
	}
}

func (m *Mesh) patchWebhooks(i *istiod) {
	hooks := m.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations()
	list, err := hooks.List(m.ctx, metav1.ListOptions{})
	if err != nil {
		return
	}
	for _, c := range list.Items {
		for j := range c.Webhooks {
			c.Webhooks[j].ClientConfig.CABundle = bytes.Clone(i.roots)
		}
		_, _ = hooks.Update(m.ctx, &c, metav1.UpdateOptions{})
	}
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
