package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
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
	// Bootstraps has every proxy asked how it is secured towards the control plane.
	Bootstraps bool
	// Progress is told how many proxies have been read, of how many.
	Progress func(done, of int)
	// Where names the cluster: its context and server are kept in the Snapshot.
	Where Cluster
	// Skew says how far this machine's clock is ahead of the API server's, by the
	// answers so far; nil where nobody measures it.
	Skew func() time.Duration
}

// Parts says how much of the mesh is read.
type Parts struct {
	// Published are namespaces, trust ConfigMaps and webhooks. Proxies are listed and,
	// unless Unread, read, Counters theirs of upstream endpoints too. Surroundings are what does not
	// change while a rotation waits: the CA Secret, machines, other clusters, virtual
	// machines, releases. Nodes are machines alone.
	Published    bool
	Proxies      bool
	Unread       bool
	Counters     bool
	Surroundings bool
	Nodes        bool
	// VMs are the virtual machines alone.
	VMs bool
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
	s := &Snapshot{TakenAt: c.Now(), Cluster: c.Where}
	g := &gatherer{Collector: c, s: s}
	if parts.Surroundings {
		if err := g.cluster(ctx); err != nil {
			return nil, err
		}
	}
	// What decides about the rest comes first: which control planes there are.
	if err := g.controlPlanes(ctx, parts.Surroundings); err != nil {
		return nil, err
	}
	if parts.Surroundings {
		g.releases(ctx)
	}
	if parts.Published || parts.Proxies {
		g.others = g.otherMeshes(ctx)
	}
	var steps []func(context.Context)
	if parts.Published {
		steps = append(steps, g.namespaces, g.webhooks)
	}
	if parts.Published || parts.Surroundings {
		steps = append(steps, g.meshConfig)
	}
	if parts.Surroundings {
		steps = append(steps, g.virtualMachines, g.remotes, g.nodes, g.policies)
	}
	if parts.Surroundings || parts.Published {
		steps = append(steps, g.citadelMesh)
	}
	if parts.Nodes && !parts.Surroundings {
		steps = append(steps, g.nodes)
	}
	if parts.VMs && !parts.Surroundings {
		steps = append(steps, g.virtualMachines)
	}
	if parts.Proxies {
		steps = append(steps, func(ctx context.Context) { g.proxies(ctx, parts) })
	}
	var wg sync.WaitGroup
	for _, step := range steps {
		wg.Go(func() { step(ctx) })
	}
	wg.Wait()
	s.Remotes = append(s.Remotes, g.networks...)
	s.MTLS.Policies = g.policy
	g.managed(ctx)
	g.tags()
	g.byHand()
	if parts.Surroundings {
		g.caSources(ctx)
		g.ownServing(ctx)
		g.managedCAs(ctx)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	g.discovered()
	if parts.Published && (parts.Surroundings || slices.ContainsFunc(s.Proxies, func(p Proxy) bool { return p.ReadsCRL })) {
		g.revocations(ctx)
	}
	g.uninjected()
	g.reach()
	if c.Skew != nil {
		s.ClockSkew = Duration(c.Skew().Round(time.Second))
	}
	slices.SortFunc(s.Proxies, func(a, b Proxy) int { return strings.Compare(a.Ref(), b.Ref()) })
	for _, list := range [][]Gap{s.Gaps, s.Beside} {
		slices.SortFunc(list, func(a, b Gap) int { return strings.Compare(a.Part, b.Part) })
	}
	return s, nil
}

// gatherer fills one Snapshot.
type gatherer struct {
	*Collector
	s  *Snapshot
	mu sync.Mutex

	selectors  []metav1.LabelSelector // meshConfig.discoverySelectors of all control planes
	everywhere bool                   // one of the control planes has none, so that it serves every namespace
	unlisted   bool                   // Deployments may not be listed
	others     []ControlPlane         // istiods of other namespaces than the one that was asked for
	partial    bool                   // not every namespace was listed
	networks   []Remote               // meshNetworks
	bare       []bare                 // pods without a proxy
	policy     []MTLSPolicy
	given      map[string]givenMap // ConfigMaps with istiods' settings, by namespace/name

	once             sync.Once
	discoveredGroups map[string][]string // versions by API group
	discoveryError   error
}

// gap notes a part that could not be read.
func (g *gatherer) gap(part, verb, resource, namespace string, err error) {
	g.note(&g.s.Gaps, part, verb, resource, namespace, err)
}

// beside notes one that no gate needs.
func (g *gatherer) beside(part, verb, resource, namespace string, err error) {
	g.note(&g.s.Beside, part, verb, resource, namespace, err)
}

func (g *gatherer) note(into *[]Gap, part, verb, resource, namespace string, err error) {
	gap := Gap{Part: part, Resource: resource, Namespace: namespace, Error: err.Error(), Incomplete: verb == "list"}
	if refused(err) {
		gap.Verb = verb
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	*into = append(*into, gap)
}

// refused reports whether the API server answered, and said no.
func refused(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }

// pages reads a list to its end, once more from the start where a page has
// expired under way.
func pages(read func(metav1.ListOptions) (next string, err error), options metav1.ListOptions, restart func()) error {
	options.Limit = pageSize
	again := false
	for {
		next, err := read(options)
		if (apierrors.IsResourceExpired(err) || apierrors.IsGone(err)) && options.Continue != "" && !again {
			again, options.Continue = true, ""
			restart()
			continue
		}
		if err != nil {
			return err
		}
		if next != "" && next == options.Continue {
			return errors.New("the API server gives the same page again")
		}
		if options.Continue = next; next == "" {
			return nil
		}
	}
}

func (g *gatherer) cluster(ctx context.Context) error {
	version, err := g.Kube.Discovery().ServerVersionWithContext(ctx)
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

// reach says of every proxy how a new root gets to it.
func (g *gatherer) reach() {
	alike := Alike(g.s.Proxies)
	for i := range g.s.Proxies {
		p := &g.s.Proxies[i]
		p.Reach, p.ReachWhy = ReachOf(alike(*p), g.s.ControlPlanes)
	}
}

// Alike has a proxy that does not say its release itself say that of another of the same
// image, where one does.
func Alike(all []Proxy) func(Proxy) Proxy {
	siblings := map[string]proxy.Info{}
	for _, p := range all {
		if p.Loaded != nil && p.Loaded.Info != (proxy.Info{}) && p.Image != "" {
			siblings[p.Image] = p.Loaded.Info
		}
	}
	return func(p Proxy) Proxy {
		if release, _ := p.ReleaseOf(); release == "" {
			if info, ok := siblings[p.Image]; ok {
				loaded := proxy.Loaded{}
				if p.Loaded != nil { // whose own is left as it is
					loaded = *p.Loaded
				}
				loaded.Info = info
				p.Loaded = &loaded
			}
		}
		return p
	}
}
