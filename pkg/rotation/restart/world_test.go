package restart_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
)

var epoch = time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)

const marker = "kubectl.kubernetes.io/restartedAt"

// load is one workload of a world: what it is, and how far it is.
type load struct {
	kind, namespace, name, group string
	replicas                     int
	unavailable, surge           int
	recreate, onDelete, broken   bool
	uncounted                    bool // its API server knows no available pods of a StatefulSet
	heldBack                     int  // pods of before a change that waits
	needs                        bool

	mark          string
	rolling       bool
	updated, away int
	generation    int64
}

func (l *load) ref() string               { return l.namespace + "/" + l.name }
func (l *load) labels() map[string]string { return map[string]string{"app": l.name, "group": l.group} }
func (l *load) pod(n int) string          { return fmt.Sprintf("%s-%d", l.name, n) }
func (l *load) singly() bool              { return l.onDelete || l.kind == "ReplicaSet" }

// object is the workload as the API server would show it.
func (l *load) object() runtime.Object {
	m := metav1.ObjectMeta{Namespace: l.namespace, Name: l.name, Generation: l.generation}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: l.labels()}}
	if l.mark != "" {
		template.Annotations = map[string]string{marker: l.mark}
	}
	n, available, updated := int32(l.replicas), int32(l.replicas-l.away), int32(l.replicas)
	if l.rolling {
		updated = int32(l.updated)
	}
	updated -= int32(l.heldBack)
	number := func(i int) *intstr.IntOrString { v := intstr.FromInt32(int32(i)); return &v }
	switch l.kind {
	case "Deployment":
		d := &appsv1.Deployment{ObjectMeta: m, Spec: appsv1.DeploymentSpec{Replicas: &n, Template: template},
			Status: appsv1.DeploymentStatus{ObservedGeneration: l.generation, Replicas: n, UpdatedReplicas: updated, AvailableReplicas: available}}
		if d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType; !l.recreate {
			d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: number(l.unavailable), MaxSurge: number(l.surge)}}
		}
		if l.broken && l.rolling {
			d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Reason: "ProgressDeadlineExceeded", Message: "it has timed out"}}
		}
		return d
	case "StatefulSet":
		s := &appsv1.StatefulSet{ObjectMeta: m, Spec: appsv1.StatefulSetSpec{Replicas: &n, Template: template},
			Status: appsv1.StatefulSetStatus{ObservedGeneration: l.generation, UpdatedReplicas: updated, ReadyReplicas: available, AvailableReplicas: available, CurrentRevision: "r0", UpdateRevision: "r0"}}
		if l.uncounted {
			s.Status.AvailableReplicas = 0
		}
		if l.rolling {
			s.Status.UpdateRevision = "r1"
		}
		if l.onDelete {
			s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
		}
		return s
	case "DaemonSet":
		d := &appsv1.DaemonSet{ObjectMeta: m, Spec: appsv1.DaemonSetSpec{Template: template},
			Status: appsv1.DaemonSetStatus{ObservedGeneration: l.generation, DesiredNumberScheduled: n, UpdatedNumberScheduled: updated, NumberAvailable: available}}
		d.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{MaxUnavailable: number(l.unavailable), MaxSurge: number(l.surge)}
		if l.onDelete {
			d.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
		}
		return d
	case "ReplicaSet":
		return &appsv1.ReplicaSet{ObjectMeta: m, Spec: appsv1.ReplicaSetSpec{Replicas: &n, Template: template},
			Status: appsv1.ReplicaSetStatus{ObservedGeneration: l.generation, Replicas: n, AvailableReplicas: available}}
	}
	return nil
}

func (l *load) resource() string {
	return map[string]string{"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets", "ReplicaSet": "replicasets"}[l.kind]
}

// rule is one budget of a world.
type rule struct {
	namespace, name, group string // group "" is all of the namespace
	desired                int
}

// world is a cluster whose controllers work when time passes.
type world struct {
	kube  *fake.Clientset
	loads []*load
	rules []rule
	now   time.Time
	// wrong is the first thing that must not have happened.
	wrong   string
	passes  int
	most    int // workloads being restarted at once
	writes  []string
	refuse  string // a verb that is forbidden
	take    string // a workload whose mark is taken back
	pending map[string]*load
	step    func(of int) int // how far a controller gets in one step
}

func newWorld(loads []*load, rules []rule) *world {
	w := &world{loads: loads, rules: rules, now: epoch, pending: map[string]*load{}, step: func(of int) int { return of }}
	var objects []runtime.Object
	for _, l := range loads {
		l.generation = 1
		if o := l.object(); o != nil {
			objects = append(objects, o)
		}
		for n := range l.replicas {
			objects = append(objects, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: l.pod(n), UID: types.UID(l.pod(n)), Labels: l.labels()}})
		}
	}
	for _, r := range rules {
		objects = append(objects, w.budget(r))
	}
	w.kube = fake.NewSimpleClientset(objects...) // the other keeps managed fields, at a hundred times the cost
	w.kube.PrependReactor("patch", "*", func(a k8stesting.Action) (bool, runtime.Object, error) {
		w.writes = append(w.writes, a.GetNamespace()+"/"+a.(k8stesting.PatchAction).GetName())
		if w.refuse == "patch" {
			return true, nil, apierrors.NewForbidden(a.GetResource().GroupResource(), "", nil)
		}
		// The API server counts a changed spec at once, its controller sees it later.
		there, err := w.kube.Tracker().Get(a.GetResource(), a.GetNamespace(), a.(k8stesting.PatchAction).GetName())
		w.try(err)
		m, err := meta.Accessor(there)
		w.try(err)
		m.SetGeneration(m.GetGeneration() + 1)
		w.try(w.kube.Tracker().Update(a.GetResource(), there, a.GetNamespace()))
		return false, nil, nil
	})
	w.kube.PrependReactor("list", "*", func(a k8stesting.Action) (bool, runtime.Object, error) {
		if w.refuse == "list "+a.GetResource().Resource {
			return true, nil, apierrors.NewForbidden(a.GetResource().GroupResource(), "", nil)
		}
		return false, nil, nil
	})
	w.kube.PrependReactor("create", "pods", w.evict)
	return w
}

func (w *world) covers(r rule, l *load) bool {
	return r.namespace == l.namespace && (r.group == "" || r.group == l.group)
}

func (w *world) count(r rule) (expected, healthy int) {
	for _, l := range w.loads {
		if w.covers(r, l) {
			expected += l.replicas
			healthy += l.replicas - l.away
		}
	}
	return
}

func (w *world) budget(r rule) *policyv1.PodDisruptionBudget {
	expected, healthy := w.count(r)
	selector := &metav1.LabelSelector{}
	if r.group != "" {
		selector = metav1.SetAsLabelSelector(labels.Set{"group": r.group})
	}
	return &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: r.name}, Spec: policyv1.PodDisruptionBudgetSpec{Selector: selector},
		Status: policyv1.PodDisruptionBudgetStatus{ExpectedPods: int32(expected), DesiredHealthy: int32(r.desired), CurrentHealthy: int32(healthy), DisruptionsAllowed: int32(max(0, healthy-r.desired))}}
}

// evict is the API server's eviction: it asks the budgets.
func (w *world) evict(a k8stesting.Action) (bool, runtime.Object, error) {
	if a.GetSubresource() != "eviction" {
		return false, nil, nil
	}
	e := a.(k8stesting.CreateAction).GetObject().(*policyv1.Eviction)
	pods := corev1.Resource("pods")
	if w.refuse == "evict" {
		return true, nil, apierrors.NewForbidden(pods, e.Name, nil)
	}
	resource := corev1.SchemeGroupVersion.WithResource("pods")
	there, err := w.kube.Tracker().Get(resource, e.Namespace, e.Name)
	if err != nil {
		return true, nil, apierrors.NewNotFound(pods, e.Name)
	}
	if pod := there.(*corev1.Pod); pod.UID != *e.DeleteOptions.Preconditions.UID {
		return true, nil, apierrors.NewConflict(pods, e.Name, nil)
	}
	i := slices.IndexFunc(w.loads, func(l *load) bool { return l.ref() == e.Namespace+"/"+e.Name[:len(e.Name)-2] })
	l := w.loads[i]
	if w.pending[l.ref()+"/"+e.Name] == l {
		return true, nil, nil // it is ending already
	}
	over := 0
	for _, r := range w.rules {
		if !w.covers(r, l) {
			continue
		}
		if over++; over > 1 {
			return true, nil, apierrors.NewInternalError(fmt.Errorf("two budgets"))
		}
		if _, healthy := w.count(r); healthy <= r.desired {
			return true, nil, apierrors.NewTooManyRequests("it would violate the pod's disruption budget", 0)
		}
	}
	w.writes = append(w.writes, l.ref())
	for _, other := range w.pending {
		if other == l {
			w.say("%s: a second pod is evicted before the first is made up for", l.ref())
		}
	}
	l.away++
	w.pending[l.ref()+"/"+e.Name] = l
	w.check()
	return true, nil, nil
}

func (w *world) say(format string, args ...any) {
	if w.wrong == "" {
		w.wrong = fmt.Sprintf(format, args...)
	}
}

// check looks for a broken budget, and counts what is under way.
func (w *world) check() {
	for _, r := range w.rules {
		if _, healthy := w.count(r); healthy < r.desired {
			w.say("budget %s/%s: %d of %d serve", r.namespace, r.name, healthy, r.desired)
		}
	}
	busy := 0
	for _, l := range w.loads {
		if l.rolling || l.away > 0 {
			busy++
		}
	}
	w.most = max(w.most, busy)
}

func (w *world) Now() time.Time { return w.now }

// After lets the controllers work for as long.
func (w *world) After(d time.Duration) <-chan time.Time {
	w.now = w.now.Add(d)
	w.pass()
	c := make(chan time.Time, 1)
	c <- w.now
	return c
}

func (w *world) pass() {
	w.passes++
	for key, l := range w.pending {
		if w.step(1) == 0 {
			continue
		}
		name := key[len(l.ref())+1:]
		pods := corev1.SchemeGroupVersion.WithResource("pods")
		if there, err := w.kube.Tracker().Get(pods, l.namespace, name); err == nil && there.(*corev1.Pod).UID == types.UID(name) {
			w.try(w.kube.Tracker().Delete(pods, l.namespace, name)) // and the next step makes another
			continue
		}
		l.away--
		l.updated++
		w.try(w.kube.Tracker().Create(pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: name, UID: types.UID(name + "'"), Labels: l.labels()}}, l.namespace))
		delete(w.pending, key)
	}
	for _, l := range w.loads {
		if l.object() == nil {
			continue
		}
		resource := appsv1.SchemeGroupVersion.WithResource(l.resource())
		object, err := w.kube.Tracker().Get(resource, l.namespace, l.name)
		w.try(err)
		if mark := markOf(object); mark != l.mark && mark != "" {
			l.mark, l.rolling, l.updated, l.generation = mark, true, 0, l.generation+1
			if w.take == l.ref() {
				l.mark, w.take = "", "taken"
			}
		}
		if l.rolling && !l.broken {
			unavailable := l.unavailable
			switch {
			case l.kind == "StatefulSet", unavailable+l.surge == 0:
				unavailable = 1
			case l.recreate:
				unavailable = l.replicas
			case l.kind == "DaemonSet" && l.surge > 0:
				unavailable = 0
			}
			l.updated = min(l.replicas, l.updated+w.step(max(1, l.away)))
			l.away = min(unavailable, l.replicas-l.updated)
			l.rolling = l.updated < l.replicas
		}
	}
	w.check()
	for _, l := range w.loads {
		if o := l.object(); o != nil {
			w.try(w.kube.Tracker().Update(appsv1.SchemeGroupVersion.WithResource(l.resource()), o, l.namespace))
		}
	}
	for _, r := range w.rules {
		w.try(w.kube.Tracker().Update(policyv1.SchemeGroupVersion.WithResource("poddisruptionbudgets"), w.budget(r), r.namespace))
	}
}

func (w *world) try(err error) {
	if err != nil {
		w.say("the world: %v", err)
	}
}

func markOf(o runtime.Object) string {
	switch o := o.(type) {
	case *appsv1.Deployment:
		return o.Spec.Template.Annotations[marker]
	case *appsv1.StatefulSet:
		return o.Spec.Template.Annotations[marker]
	case *appsv1.DaemonSet:
		return o.Spec.Template.Annotations[marker]
	}
	return ""
}

// proxies are those of the workloads that need a restart.
func (w *world) proxies() (all []mesh.Proxy) {
	for _, l := range w.loads {
		for n := range l.replicas {
			if l.needs {
				all = append(all, proxyOf(l, n))
			}
		}
	}
	return all
}

func proxyOf(l *load, n int) mesh.Proxy {
	p := mesh.Proxy{Namespace: l.namespace, Name: l.pod(n), UID: l.pod(n), Kind: mesh.Sidecar, Labels: l.labels(), Created: epoch.Add(-time.Hour)}
	if l.kind != "" {
		p.Workload = mesh.Workload{Kind: l.kind, Name: l.name}
	}
	return p
}
