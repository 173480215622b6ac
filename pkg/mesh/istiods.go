package mesh

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// istiodSelector is the label of every istiod (istio 1.30.3
// manifests/charts/istio-control/istio-discovery/templates/deployment.yaml).
const istiodSelector = "app=istiod"

// controlPlanes lists every istiod of every revision, in whatever namespace and
// under whatever controller. Without them nothing else can be decided, so an
// error that is no refusal is the collection's.
func (g *gatherer) controlPlanes(ctx context.Context, old bool) error {
	selector := istiodSelector
	deployments, err := g.deployments(ctx, selector)
	if err != nil {
		return fmt.Errorf("listing deployments of istiod: %w", err)
	}
	if g.Revision != "" {
		selector += ",istio.io/rev=" + g.Revision
	}
	for i := range deployments {
		d := &deployments[i]
		if g.Revision != "" && d.Labels["istio.io/rev"] != g.Revision {
			g.s.LeftOut = append(g.s.LeftOut, d.Namespace+"/"+d.Name)
			continue
		}
		changed := g.fill(ctx, d.Namespace, istiodContainer(d.Spec.Template.Spec.Containers))
		plane, unknown := planeOf(d)
		plane.changed = changed
		g.unknownSettings(plane, unknown)
		g.s.ControlPlanes = append(g.s.ControlPlanes, plane)
	}
	if err := g.replicas(ctx, selector); err != nil {
		return err
	}
	if old || len(g.s.ControlPlanes) == 0 {
		return g.citadels(ctx)
	}
	return nil
}

func (g *gatherer) unknownSettings(plane ControlPlane, unknown []error) {
	for _, err := range unknown {
		g.gap("settings of "+plane.Namespace+"/"+plane.Name, "get", "deployments", plane.Namespace, err)
	}
}

// deployments lists Deployments; a refusal leaves a Gap.
func (g *gatherer) deployments(ctx context.Context, selector string) ([]appsv1.Deployment, error) {
	all, err := g.deploymentsOf(ctx, g.IstioNamespace, selector)
	if refused(err) {
		g.unlisted = true
		g.gap("deployments with "+selector, "list", "deployments", g.IstioNamespace, err)
		return nil, nil
	}
	return all, err
}

func (g *gatherer) deploymentsOf(ctx context.Context, namespace, selector string) (all []appsv1.Deployment, err error) {
	err = pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Kube.AppsV1().Deployments(namespace).List(ctx, o)
		if err != nil {
			return "", err
		}
		all = append(all, page.Items...)
		return page.Continue, nil
	}, metav1.ListOptions{LabelSelector: selector}, func() { all = nil })
	return all, err
}

func (g *gatherer) pods(ctx context.Context, namespace, selector string) (all []corev1.Pod, err error) {
	err = pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Kube.CoreV1().Pods(namespace).List(ctx, o)
		if err != nil {
			return "", err
		}
		all = append(all, page.Items...)
		return page.Continue, nil
	}, metav1.ListOptions{LabelSelector: selector}, func() { all = nil })
	return all, err
}

// replicas are the pods behind the Deployments, by their own selectors, and the
// istiods that no Deployment owns.
func (g *gatherer) replicas(ctx context.Context, selector string) error {
	pods, err := g.pods(ctx, g.IstioNamespace, selector)
	if refused(err) && g.unlisted {
		return fmt.Errorf("listing pods of istiod: %w", err) // nothing tells that there is one, or none
	} else if refused(err) {
		g.gap("pods with "+selector, "list", "pods", g.IstioNamespace, err)
	} else if err != nil {
		return fmt.Errorf("listing pods of istiod: %w", err)
	}
	pods = slices.DeleteFunc(pods, func(p corev1.Pod) bool { return ended(&p) })
	for i := range g.s.ControlPlanes {
		plane := &g.s.ControlPlanes[i]
		matches, err := metav1.LabelSelectorAsSelector(plane.selector)
		if err != nil {
			return fmt.Errorf("deployment %s/%s: %w", plane.Namespace, plane.Name, err)
		}
		pods = plane.claim(pods, matches)
		if len(plane.Replicas) == 0 && plane.Desired > 0 {
			// Its template may lack the label that its Deployment has.
			own, err := g.pods(ctx, plane.Namespace, matches.String())
			if refused(err) {
				g.gap("pods of "+plane.Namespace+"/"+plane.Name, "list", "pods", plane.Namespace, err)
			} else if err != nil {
				return fmt.Errorf("listing pods of istiod in %s: %w", plane.Namespace, err)
			}
			plane.claim(slices.DeleteFunc(own, func(p corev1.Pod) bool { return ended(&p) }), matches)
		}
		plane.settle()
	}
	g.orphans(ctx, pods)
	g.outdated()
	return nil
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// claim takes the control plane's own pods and returns the others.
func (c *ControlPlane) claim(pods []corev1.Pod, matches labels.Selector) (others []corev1.Pod) {
	for i := range pods {
		pod := &pods[i]
		owner := workloadOf(pod)
		mine := owner == Workload{Kind: "Deployment", Name: c.Name} || owner.Kind == ""
		if pod.Namespace != c.Namespace || !matches.Matches(labels.Set(pod.Labels)) || !mine {
			others = append(others, *pod)
			continue
		}
		c.Replicas = append(c.Replicas, istiodOf(pod))
	}
	return others
}

// settle: a rollout is complete when the old pods are gone too: they sign until then.
func (c *ControlPlane) settle() {
	live := int32(0)
	for _, r := range c.Replicas {
		if r.Ready && !r.Terminating {
			live++
		}
	}
	if int32(len(c.Replicas)) != c.Desired || live != c.Desired {
		c.Settled = false
	}
	slices.SortFunc(c.Replicas, func(a, b Istiod) int { return strings.Compare(a.Pod, b.Pod) })
}

// orphans are istiods of no Deployment that could be seen: bare pods, ReplicaSets,
// StatefulSets. They sign and hand out roots like any other.
func (g *gatherer) orphans(ctx context.Context, pods []corev1.Pod) {
	index := map[string]int{}
	for i := range pods {
		pod := &pods[i]
		if istiodContainer(pod.Spec.Containers) == nil {
			continue
		}
		owner := workloadOf(pod)
		if owner.Name == "" {
			owner.Name = pod.Name
		}
		key := pod.Namespace + "/" + owner.Kind + "/" + owner.Name
		at, ok := index[key]
		if !ok {
			changed := g.fill(ctx, pod.Namespace, istiodContainer(pod.Spec.Containers))
			plane, unknown := planeOfPod(pod, owner.Name, owner.Kind)
			plane.changed = changed
			g.unknownSettings(plane, unknown)
			at = len(g.s.ControlPlanes)
			index[key] = at
			g.s.ControlPlanes = append(g.s.ControlPlanes, plane)
		}
		plane := &g.s.ControlPlanes[at]
		plane.Desired++
		plane.Updated++
		plane.Replicas = append(plane.Replicas, istiodOf(pod))
	}
	for _, at := range index {
		g.s.ControlPlanes[at].settle()
	}
}

// startOf is when a container's process was started, so that it has read its files; the
// pod's own start, which may be long before, where its status does not say.
func startOf(pod *corev1.Pod, container string) (at time.Time) {
	if pod.Status.StartTime != nil {
		at = pod.Status.StartTime.Time
	}
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == container && status.State.Running != nil && !status.State.Running.StartedAt.IsZero() {
			at = status.State.Running.StartedAt.Time
		}
	}
	return at
}

func istiodOf(pod *corev1.Pod) Istiod {
	r := Istiod{Pod: pod.Name, UID: string(pod.UID), IP: pod.Status.PodIP, Node: pod.Spec.NodeName, Terminating: pod.DeletionTimestamp != nil, created: pod.CreationTimestamp.Time}
	name := ""
	if len(pod.Spec.Containers) > 0 {
		name = pod.Spec.Containers[0].Name // Citadel's, which is none of istiod's
	}
	if c := istiodContainer(pod.Spec.Containers); c != nil {
		r.Image, r.Version, name = c.Image, versionOfImage(c.Image), c.Name
	}
	r.Started = startOf(pod, name)
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			r.Ready = c.Status == corev1.ConditionTrue
		}
	}
	return r
}

// istiodContainer is the one that runs pilot-discovery: by the charts' name, else
// by the image's.
func istiodContainer(containers []corev1.Container) *corev1.Container {
	for i := range containers {
		if containers[i].Name == "discovery" {
			return &containers[i]
		}
	}
	for i := range containers {
		image, _, _ := strings.Cut(containers[i].Image[strings.LastIndex(containers[i].Image, "/")+1:], "@")
		if name, _, _ := strings.Cut(image, ":"); name == "pilot" || name == "istiod" {
			return &containers[i]
		}
	}
	return nil
}

// citadels are the CAs of Istio 1.0 to 1.4 (istio 1.4.0
// install/kubernetes/helm/istio/charts/security/templates/deployment.yaml).
func (g *gatherer) citadels(ctx context.Context) error {
	deployments, err := g.deployments(ctx, "istio=citadel")
	if err != nil {
		return fmt.Errorf("listing deployments of citadel: %w", err)
	}
	for i := range deployments {
		d := &deployments[i]
		if len(d.Spec.Template.Spec.Containers) == 0 {
			continue
		}
		container := d.Spec.Template.Spec.Containers[0]
		plane := ControlPlane{
			Namespace: d.Namespace, Name: d.Name, Image: container.Image, Version: versionOfImage(container.Image),
			Updated: d.Status.UpdatedReplicas, Settled: settled(d), Desired: desired(d), CA: CASource{Kind: CACitadel, Namespace: d.Namespace},
			Flags: citadelFlags(container.Args), citadel: true, selfSigned: slices.Contains(container.Args, "--self-signed-ca=true") || slices.Contains(container.Args, "--self-signed-ca"),
		}
		if plane.selfSigned && RenewsRoot(plane.Version) {
			env := environment{container: &container}
			plane.RootRenewal = env.rootRenewal()
			g.unknownSettings(plane, env.unknown)
		}
		selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
		if err != nil {
			return fmt.Errorf("deployment %s/%s: %w", d.Namespace, d.Name, err)
		}
		pods, err := g.pods(ctx, d.Namespace, selector.String())
		if refused(err) {
			g.gap("pods of "+d.Namespace+"/"+d.Name, "list", "pods", d.Namespace, err)
		} else if err != nil {
			return fmt.Errorf("listing pods of citadel in %s: %w", d.Namespace, err)
		}
		plane.claim(slices.DeleteFunc(pods, func(p corev1.Pod) bool { return ended(&p) }), selector)
		for i := range plane.Replicas {
			plane.Replicas[i].Version = plane.Version
		}
		plane.settle()
		g.s.ControlPlanes = append(g.s.ControlPlanes, plane)
	}
	return nil
}

// managed: a webhook that is called by URL, or live proxies or a remote istiod's
// service beside webhooks and trust ConfigMaps, without an istiod that could be
// read, are a control plane somewhere else. Webhooks and ConfigMaps alone are what
// an uninstalled Istio leaves behind.
func (g *gatherer) managed(ctx context.Context) {
	if len(g.s.ControlPlanes) > 0 {
		return
	}
	namespace, why := "", ""
	alive := len(g.s.Proxies) > 0 || slices.ContainsFunc(g.s.Remotes, func(r Remote) bool { return r.Kind == "remote-istiod" })
	for _, w := range g.s.Webhooks {
		if w.Kind != mutating || w.Service != "" && !alive {
			continue // the base chart's own validating one is no control plane
		}
		why = fmt.Sprintf("%s %s is there, and no istiod can be seen", w.Kind, w.Config)
		if namespace, _, _ = strings.Cut(w.Service, "/"); namespace != "" {
			break
		}
	}
	for _, n := range g.s.Namespaces {
		if why == "" && n.Trust != nil && alive {
			why = fmt.Sprintf("the ConfigMap %s/%s is there, and no istiod can be seen", n.Name, n.Trust.Name)
		}
	}
	if why == "" {
		g.s.Namespaces = nil // no mesh, so no namespace of it
		return
	}
	for _, gap := range g.s.Gaps {
		if gap.Resource == "deployments" || gap.Resource == "pods" {
			return // it may be there all the same
		}
	}
	g.s.ControlPlanes = []ControlPlane{{
		Namespace: namespace, Name: "managed", Settled: true,
		CA: CASource{Kind: CAUnsupported, Why: why}, Flags: Flags{CAServer: true, TrustConfigMap: DefaultTrustConfigMap},
		Elsewhere: g.outside(ctx),
	}}
}

// outside says by what an istiod that is in no pod of this cluster is reached, "" where
// nothing shows that it is reached at all, or where one may be here after all. What a
// remote cluster publishes its istiod writes from there (istio 1.30.3
// pilot/pkg/serviceregistry/kube/controller/multicluster.go:237).
func (g *gatherer) outside(ctx context.Context) string {
	if len(g.s.LeftOut) > 0 {
		return ""
	}
	if g.IstioNamespace != "" {
		all, err := g.deploymentsOf(ctx, metav1.NamespaceAll, istiodSelector)
		if err != nil || len(all) > 0 {
			return ""
		}
	}
	for _, r := range g.s.Remotes {
		if r.Kind == "remote-istiod" {
			return "the service " + r.Namespace + "/" + r.Name + " leads to an istiod out of this cluster"
		}
	}
	for _, w := range g.s.Webhooks {
		if w.Kind == mutating && w.Service == "" {
			return "the webhook " + w.Config + "/" + w.Name + " is called by URL, and no istiod is in this cluster"
		}
	}
	return ""
}

// tags are the names that a revision goes by, from the webhooks that "istioctl tag
// set" and the charts make (istio 1.30.3 istioctl/pkg/tag/generate.go).
func (g *gatherer) tags() {
	for i := range g.s.ControlPlanes {
		plane := &g.s.ControlPlanes[i]
		for _, w := range g.s.Webhooks {
			if w.Tag != "" && w.Revision == plane.Revision && w.Tag != plane.Revision && !slices.Contains(plane.Tags, w.Tag) {
				plane.Tags = append(plane.Tags, w.Tag)
			}
		}
		slices.Sort(plane.Tags)
	}
}
