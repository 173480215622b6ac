package mesh

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
)

// Collector reads a mesh into a Snapshot: bounded, paginated, and with an error
// of its own for each part that cannot be read.
type Collector struct {
	Kube kubernetes.Interface
	// Dynamic reads what client-go has no types for; nil leaves a Gap.
	Dynamic dynamic.Interface
	// Dialer reaches the proxies; nil leaves them unread.
	Dialer proxy.Dialer
	Now    func() time.Time
	// IstioNamespace and Revision select control planes, "" for all there are.
	IstioNamespace string
	Revision       string
	// Concurrency and Timeout are those of proxy.Reader.
	Concurrency int
	Timeout     time.Duration
	// NoSecrets leaves all Secrets unrequested.
	NoSecrets bool
	// Progress is told how many proxies have been read, of how many.
	Progress func(done, of int)
}

// Parts says how much of the mesh is read.
type Parts struct {
	// Published are namespaces, trust ConfigMaps and webhooks. Proxies are listed and
	// read. Surroundings are what does not change while a rotation waits: the CA
	// Secret, machines, other clusters, virtual machines, mesh config.
	Published    bool
	Proxies      bool
	Surroundings bool
	// Known gives a proxy's reading by pod UID that need not be done again.
	Known map[string]*proxy.Loaded
}

// Collect reads everything.
func (c *Collector) Collect(ctx context.Context) (*Snapshot, error) {
	return c.Read(ctx, Parts{Published: true, Proxies: true, Surroundings: true})
}

// Read reads the parts asked for. It fails only where the API server does not
// answer at all, or ctx ends.
func (c *Collector) Read(ctx context.Context, parts Parts) (*Snapshot, error) {
	s := &Snapshot{TakenAt: c.Now()}
	g := &gatherer{Collector: c, s: s}
	if parts.Surroundings {
		if err := g.cluster(ctx); err != nil {
			return nil, err
		}
	}
	// What decides about the rest comes first: which control planes there are.
	if err := g.controlPlanes(ctx); err != nil {
		return nil, err
	}
	var steps []func(context.Context)
	if parts.Published {
		steps = append(steps, g.namespaces, g.webhooks)
	}
	if parts.Surroundings {
		steps = append(steps, g.meshConfig, g.virtualMachines, g.remotes, g.nodes)
	}
	if parts.Proxies {
		steps = append(steps, func(ctx context.Context) { g.proxies(ctx, parts) })
	}
	var wg sync.WaitGroup
	for _, step := range steps {
		wg.Go(func() { step(ctx) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if parts.Surroundings {
		g.caSources(ctx)
	}
	for i := range s.Proxies {
		s.Proxies[i].Reach, s.Proxies[i].ReachWhy = ReachOf(s.Proxies[i], s.ControlPlanes)
	}
	slices.SortFunc(s.Proxies, func(a, b Proxy) int { return strings.Compare(a.Ref(), b.Ref()) })
	slices.SortFunc(s.Gaps, func(a, b Gap) int { return strings.Compare(a.Part, b.Part) })
	return s, nil
}

// gatherer fills one Snapshot.
type gatherer struct {
	*Collector
	s  *Snapshot
	mu sync.Mutex
}

// gap notes a part that could not be read.
func (g *gatherer) gap(part, verb, resource, namespace string, err error) {
	gap := Gap{Part: part, Resource: resource, Namespace: namespace, Error: err.Error(), Incomplete: true}
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		gap.Verb = verb
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.s.Gaps = append(g.s.Gaps, gap)
}

// pages reads a list to its end, once more from the start where a page has
// expired under way.
func pages(read func(metav1.ListOptions) (next string, err error), options metav1.ListOptions, restart func()) error {
	options.Limit = pageSize
	again := false
	for {
		next, err := read(options)
		if apierrors.IsResourceExpired(err) && options.Continue != "" && !again {
			again, options.Continue = true, ""
			restart()
			continue
		}
		if err != nil {
			return err
		}
		if options.Continue = next; next == "" {
			return nil
		}
	}
}

func (g *gatherer) cluster(ctx context.Context) error {
	version, err := g.Kube.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("asking the API server for its version: %w", err)
	}
	g.s.Cluster.Version = version.GitVersion
	system, err := g.Kube.CoreV1().Namespaces().Get(ctx, "kube-system", metav1.GetOptions{})
	if err == nil {
		g.s.Cluster.UID = string(system.UID)
	} else if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// controlPlanes lists every istiod of every revision. Without them nothing else
// can be decided, so an error here is the collection's.
func (g *gatherer) controlPlanes(ctx context.Context) error {
	options := metav1.ListOptions{LabelSelector: "app=istiod"}
	if g.Revision != "" {
		options.LabelSelector += ",istio.io/rev=" + g.Revision
	}
	deployments, err := g.Kube.AppsV1().Deployments(g.IstioNamespace).List(ctx, options)
	if err != nil {
		return fmt.Errorf("listing deployments of istiod: %w", err)
	}
	for i := range deployments.Items {
		d := &deployments.Items[i]
		plane, gaps := planeOf(d)
		for _, err := range gaps {
			g.gap("settings of "+d.Namespace+"/"+d.Name, "get", "deployments", d.Namespace, err)
		}
		g.s.ControlPlanes = append(g.s.ControlPlanes, plane)
	}
	return g.replicas(ctx)
}

// replicas are the pods behind the Deployments, matched by their own selector.
func (g *gatherer) replicas(ctx context.Context) error {
	for i := range g.s.ControlPlanes {
		plane := &g.s.ControlPlanes[i]
		selector, err := metav1.LabelSelectorAsSelector(plane.selector)
		if err != nil {
			return fmt.Errorf("deployment %s/%s: %w", plane.Namespace, plane.Name, err)
		}
		pods, err := g.Kube.CoreV1().Pods(plane.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
		if err != nil {
			return fmt.Errorf("listing pods of istiod in %s: %w", plane.Namespace, err)
		}
		live := int32(0)
		for j := range pods.Items {
			pod := &pods.Items[j]
			if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || !ownedBy(pod, plane.Name) {
				continue
			}
			replica := istiodOf(pod)
			plane.Replicas = append(plane.Replicas, replica)
			if replica.Ready && !replica.Terminating {
				live++
			}
		}
		// A rollout is complete when the old pods are gone too: they sign until then.
		if int32(len(plane.Replicas)) != plane.Desired || live != plane.Desired {
			plane.Settled = false
		}
		slices.SortFunc(plane.Replicas, func(a, b Istiod) int { return strings.Compare(a.Pod, b.Pod) })
	}
	return nil
}

// ownedBy: revisions may share labels that a selector matches, never a name.
func ownedBy(pod *corev1.Pod, deployment string) bool {
	for _, owner := range pod.OwnerReferences {
		if owner.Kind == "ReplicaSet" {
			i := strings.LastIndex(owner.Name, "-")
			return i > 0 && owner.Name[:i] == deployment
		}
	}
	return len(pod.OwnerReferences) == 0
}

func istiodOf(pod *corev1.Pod) Istiod {
	r := Istiod{Pod: pod.Name, UID: string(pod.UID), IP: pod.Status.PodIP, Node: pod.Spec.NodeName, Terminating: pod.DeletionTimestamp != nil}
	for _, c := range pod.Spec.Containers {
		if c.Name == "discovery" {
			r.Version = versionOfImage(c.Image)
		}
	}
	if pod.Status.StartTime != nil {
		r.Started = pod.Status.StartTime.Time
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			r.Ready = c.Status == corev1.ConditionTrue
		}
	}
	return r
}

// proxies lists every pod once and reads the proxies among them.
func (g *gatherer) proxies(ctx context.Context, parts Parts) {
	var all []Proxy
	var bare []Uninjected
	err := pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Kube.CoreV1().Pods("").List(ctx, o)
		if err != nil {
			return "", err
		}
		for i := range page.Items {
			pod := &page.Items[i]
			if isZtunnel(pod) && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
				all = append(all, ztunnelOf(pod))
			} else if p, ok := ProxyOf(pod); ok {
				all = append(all, p)
			} else if pod.Labels["sidecar.istio.io/inject"] == "false" {
				bare = append(bare, Uninjected{Namespace: pod.Namespace, Name: pod.Name, Why: "injection is off for this pod"})
			}
		}
		return page.Continue, nil
	}, metav1.ListOptions{}, func() { all, bare = nil, nil })
	if err != nil {
		g.gap("pods of all namespaces", "list", "pods", "", err)
	}
	g.read(ctx, all, parts.Known)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.s.Proxies, g.s.Uninjected = all, bare
}

// read fills in what each proxy has loaded, or why that is not known.
func (g *gatherer) read(ctx context.Context, proxies []Proxy, known map[string]*proxy.Loaded) {
	var targets []proxy.Target
	index := make(map[proxy.Pod]*Proxy, len(proxies))
	for i := range proxies {
		p := &proxies[i]
		switch {
		case p.Kind == Ztunnel:
			p.Error = "ztunnels are not read by this version"
		case known[p.UID] != nil:
			p.Loaded = known[p.UID]
		case p.Starting:
			p.Error = "it has not started yet"
		case g.Dialer == nil:
			p.Error = "it was not asked"
		default:
			pod := proxy.Pod{Namespace: p.Namespace, Name: p.Name}
			targets = append(targets, proxy.Target{Pod: pod, AdminPort: p.AdminPort, Info: p.Version == ""})
			index[pod] = p
		}
	}
	reader := proxy.Reader{Dialer: g.Dialer, Now: g.Now, Concurrency: g.Concurrency, Timeout: g.Timeout}
	done := 0
	reader.Read(ctx, targets, func(r proxy.Result) {
		p := index[r.Target.Pod]
		if p.Loaded = r.Loaded; r.Err != nil {
			p.Error = r.Err.Error()
		}
		if done++; g.Progress != nil {
			g.Progress(done, len(targets))
		}
	})
}

// nodes: a kubelet that does not answer refreshes no file.
func (g *gatherer) nodes(ctx context.Context) {
	var nodes []Node
	err := pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Kube.CoreV1().Nodes().List(ctx, o)
		if err != nil {
			return "", err
		}
		for _, n := range page.Items {
			node := Node{Name: n.Name}
			for _, c := range n.Status.Conditions {
				if c.Type == corev1.NodeReady {
					node.Ready, node.LastReady = c.Status == corev1.ConditionTrue, c.LastHeartbeatTime.Time
				}
			}
			nodes = append(nodes, node)
		}
		return page.Continue, nil
	}, metav1.ListOptions{}, func() { nodes = nil })
	if err != nil {
		g.gap("nodes", "list", "nodes", "", err)
	}
	g.s.Nodes = nodes
}
