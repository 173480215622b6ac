package plugin

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// meshFlags select the mesh and say how it is read.
type meshFlags struct {
	istioNamespace string
	revision       string
	concurrency    int
	proxyTimeout   time.Duration
	meshRoot       string
}

func (f *meshFlags) addFlags(flags *pflag.FlagSet) {
	flags.StringVarP(&f.istioNamespace, "istio-namespace", "i", "", "namespace of istiod (found by itself)")
	flags.StringVar(&f.revision, "revision", "", "only the control plane of this revision")
	flags.StringVar(&f.meshRoot, "mesh-root", "", "PEM file of the roots behind the URLs of meshConfig.caCertificates: proxies may trust them besides")
	flags.IntVar(&f.concurrency, "concurrency", proxy.DefaultConcurrency, "how many proxies are read at once")
	flags.DurationVar(&f.proxyTimeout, "proxy-timeout", proxy.DefaultTimeout, "how long one proxy may take to answer")
}

func (f *meshFlags) validate() error {
	if f.concurrency < 1 || f.proxyTimeout <= 0 {
		return usage(fmt.Errorf("--concurrency %d and --proxy-timeout %s must be positive", f.concurrency, f.proxyTimeout), "leave them out for what most clusters bear")
	}
	return nil
}

// observer looks at a mesh: it is what the engine, verify and check see it by.
type observer struct {
	collector *mesh.Collector
	prober    *mesh.Prober
	// first is the whole mesh as it was looked at first: what does not change while
	// one waits is taken from it.
	first *mesh.Snapshot
	// process is cluster's.
	process string
	// meshRoots are those that --mesh-root names.
	meshRoots []*pki.Certificate
	// connected is who was connected besides pods at the first look.
	connected mesh.Connected
}

// named are the roots of --mesh-root.
func (f *meshFlags) named() ([]*pki.Certificate, error) {
	if f.meshRoot == "" {
		return nil, nil
	}
	bundle, err := readRoots("--mesh-root", f.meshRoot)
	return bundle.Certs, err
}

func (f *meshFlags) observer(c *cluster, csr bool) (*observer, error) {
	roots, err := f.named()
	if err != nil {
		return nil, err
	}
	kube, dialer, err := c.connect()
	if err != nil {
		return nil, err
	}
	dynamic, err := c.dynamic()
	if err != nil {
		return nil, err
	}
	return &observer{
		collector: &mesh.Collector{
			Kube: kube, Dynamic: dynamic, Dialer: dialer, Now: time.Now, IstioNamespace: f.istioNamespace, Revision: f.revision,
			Concurrency: f.concurrency, Timeout: f.proxyTimeout, Where: c.where(), Skew: c.clock.ahead,
		},
		prober:    &mesh.Prober{Kube: kube, Dialer: dialer, Now: time.Now, Timeout: f.proxyTimeout, CSR: csr, Clients: true},
		process:   c.process,
		meshRoots: roots,
	}, nil
}

// whole reads everything, and what every replica serves and answers.
func (o *observer) whole(ctx context.Context) (*mesh.Snapshot, error) {
	s, err := o.collector.Collect(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, explain(err)
	}
	// Where control planes could not be listed, none being seen says nothing.
	if i := slices.IndexFunc(s.Gaps, func(g mesh.Gap) bool { return g.Resource == "deployments" && g.Verb == "list" }); i >= 0 && len(s.ControlPlanes) == 0 {
		return nil, failed(fmt.Errorf("%s: %s", s.Gaps[i].Part, s.Gaps[i].Error), "ask for a role that may list deployments, or name istiod's namespace with --istio-namespace")
	}
	s.NameMeshRoots(o.meshRoots)
	o.first = s
	o.prober.Probe(ctx, s, trusted(s))
	if o.prober.Clients {
		if o.connected, err = o.prober.Connected(ctx, s); err != nil {
			err = fmt.Errorf("listing the pods of istiods' clients: %w", err)
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	if err != nil {
		return nil, explain(err)
	}
	o.connected.Settle(s)
	return s, nil
}

// planes reads the control planes and their CA, and no proxy.
func (o *observer) planes(ctx context.Context) (*mesh.Snapshot, error) {
	s, err := o.collector.Read(ctx, mesh.Parts{Surroundings: true})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, explain(err)
	}
	return s, nil
}

// Observe is the engine's look.
func (o *observer) Observe(ctx context.Context, look rotation.Observation) (*mesh.Snapshot, error) {
	s, err := o.collector.Read(ctx, mesh.Parts{Published: look.Proxies, Proxies: look.Proxies, Unread: look.Unread, Counters: look.Counters, Nodes: look.Nodes, VMs: look.Proxies, Known: look.Settled})
	if err != nil {
		return nil, err
	}
	// Virtual machines register themselves, and go, while one waits for hours. Who could
	// not list them at first has been told so.
	gap := unlistedVMs(s)
	if gap != nil && (o.first == nil || unlistedVMs(o.first) == nil) {
		return nil, fmt.Errorf("%s: %s", gap.Part, gap.Error)
	}
	if o.first != nil {
		s.Cluster, s.TrustDomain, s.MeshCACertificates = o.first.Cluster, o.first.TrustDomain, o.first.MeshCACertificates
		s.MeshCAURLs = o.first.MeshCAURLs
		if gap != nil {
			s.VMs = slices.Clone(o.first.VMs)
		}
	}
	if look.Proxies { // who is connected unregistered has nothing by which it could be looked for again
		o.connected.Settle(s)
	}
	vouching := append(trusted(s), look.Vouching...)
	if o.first != nil {
		vouching = append(vouching, trusted(o.first)...)
	}
	o.prober.Strongest, o.prober.Clients = true, false
	o.prober.Probe(ctx, s, vouching)
	return s, nil
}

// unlistedVMs is why virtual machines could not be listed, nil where they could.
func unlistedVMs(s *mesh.Snapshot) *mesh.Gap {
	if i := slices.IndexFunc(s.Gaps, func(g mesh.Gap) bool { return g.Resource == "workloadentries" }); i >= 0 {
		return &s.Gaps[i]
	}
	return nil
}

// close takes back what looking has left in the cluster.
func (o *observer) close(ctx context.Context) error {
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return o.prober.Close(after)
}

// leave is close for a command that has said what it had to: what is left behind is
// warned of.
func (o *observer) leave(ctx context.Context, streams genericiooptions.IOStreams) {
	if left := o.close(ctx); left != nil {
		fmt.Fprintln(streams.ErrOut, "warning: "+plain(left.Error()))
	}
}

// trusted are the roots that the control planes' own namespaces trust: they may
// vouch for an istiod.
func trusted(s *mesh.Snapshot) []*pki.Certificate {
	home := map[string]bool{}
	var roots []*pki.Certificate
	for _, plane := range s.ControlPlanes {
		home[plane.Namespace] = true
		roots = append(roots, plane.CA.Root.Certs...)
	}
	for _, n := range s.Namespaces {
		if home[n.Name] && n.Trust != nil {
			roots = append(roots, n.Trust.Bundle.Certs...)
		}
	}
	if s.ClusterTrustBundle != nil {
		roots = append(roots, s.ClusterTrustBundle.Bundle.Certs...)
	}
	return roots
}
