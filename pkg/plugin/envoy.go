package plugin

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
)

const envoyExample = `  # what every live proxy of the mesh has loaded
  kubectl meshca envoy

  # has every proxy loaded the new root? exit code 2 if one has not, or cannot be read
  kubectl meshca envoy --root new-root.pem

  # which connections were made before the change, and how to drain them
  kubectl meshca envoy --counters -o json > before.json
  kubectl meshca envoy --older-than before.json -o wide

  # only one namespace, with serial numbers and evidence
  kubectl meshca envoy -n payments -o wide`

// envoyOptions are the flags of "envoy", as typed values.
type envoyOptions struct {
	meshFlags
	from      string
	selector  string
	all       bool
	rootFile  string
	output    string
	counters  bool
	olderThan string
}

func newEnvoyCommand(c *cluster, streams genericiooptions.IOStreams) *cobra.Command {
	var o envoyOptions
	cmd := &cobra.Command{
		Use:     "envoy",
		Aliases: []string{"loaded"},
		Short:   "Show which certificate and roots every live proxy has loaded",
		Long: "Reads every live sidecar, gateway, waypoint and ztunnel through its admin port and shows\n" +
			"the certificate it presents and the roots it judges its peers by; of a ztunnel, which\n" +
			"has several, the first that is not as it should be. With --root it says of\n" +
			"each whether it has loaded these roots; one that cannot be read counts as one that\n" +
			"has not. All namespaces are read unless -n names one; of several control planes -i and\n" +
			"--revision keep the proxies that ask them, and those of which that cannot be told.\n" +
			"Where one cannot be read, and whoever asks may get pods/proxy (no role of 'rbac' may),\n" +
			"it is told when its certificate ends by its metrics.\n\n" +
			"Exit codes: 0 all read (and all have the roots), 2 some have not or cannot be read,\n" +
			"1 it could not be done, 64 bad usage.",
		Example: envoyExample,
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), c, streams) },
	}
	o.addFlags(cmd.Flags())
	formerly(cmd.Flags(), "timeout", "", "proxy-timeout")
	fromFlag(cmd.Flags(), &o.from, "istio-namespace", "revision")
	filterFlags(cmd, &o.selector, &o.all)
	cmd.Flags().StringVar(&o.rootFile, "root", "", "PEM file of the roots that every proxy must have loaded")
	outputFlag(cmd, &o.output)
	cmd.Flags().BoolVar(&o.counters, "counters", false, "read the counters of upstream endpoints too: connections, failed ones, errors")
	cmd.Flags().StringVar(&o.olderThan, "older-than", "", "file of 'envoy --counters -o json' from before a change: which connections are older, and how to drain them")
	return cmd
}

func (o envoyOptions) validate() (want pki.Bundle, err error) {
	if err := errors.Join(o.meshFlags.validate(), validOutput(o.output)); err != nil {
		return want, err
	}
	if o.from != "" && (o.counters || o.olderThan != "") {
		return want, usage(errors.New("--from-snapshot excludes --counters and --older-than"), "a saved snapshot holds no counters")
	}
	if o.rootFile == "" {
		return want, nil
	}
	return readRoots("--root", o.rootFile)
}

func (o envoyOptions) run(ctx context.Context, c *cluster, streams genericiooptions.IOStreams) error {
	want, err := o.validate()
	if err != nil {
		return err
	}
	var before *envoyReport
	if o.olderThan != "" {
		if before, err = readOlder(o.olderThan); err != nil {
			return err
		}
		o.counters = true
	}
	shown, err := c.filter(o.selector, o.all)
	if err != nil {
		return err
	}
	proxies, now, err := o.proxies(ctx, c, streams, shown)
	if err != nil {
		return err
	}
	report := newEnvoyReport(proxies, want, now)
	if before != nil {
		report.older(before, proxies)
	}
	if err := printResult(streams.Out, o.output, report); err != nil {
		return err
	}
	if err := report.verdict(); err != nil || before == nil {
		return err
	}
	return report.olderVerdict(before.TakenAt)
}

// proxies are those that were asked for, with what each has loaded and when that was
// read. Whoever may list pods alone gets them, unless -i or --revision ask for the
// control planes too.
func (o envoyOptions) proxies(ctx context.Context, c *cluster, streams genericiooptions.IOStreams, shown show) ([]mesh.Proxy, time.Time, error) {
	if o.from != "" {
		s, err := readSnapshot(o.from, streams)
		if err != nil {
			return nil, time.Time{}, err
		}
		kept := slices.DeleteFunc(s.Proxies, func(p mesh.Proxy) bool { return !shown(p.Namespace, p.Labels) })
		return o.ofPlane(kept, s.ControlPlanes), s.TakenAt, nil
	}
	kube, dialer, err := c.connect()
	if err != nil {
		return nil, time.Time{}, err
	}
	namespace := ""
	if c.flags.Namespace != nil {
		namespace = *c.flags.Namespace
	}
	proxies, err := mesh.ListProxies(ctx, kube, namespace, o.selector)
	if err != nil {
		return nil, time.Time{}, explain(err)
	}
	if o.istioNamespace != "" || o.revision != "" {
		every := o.meshFlags // of one plane alone it cannot be told who asks another
		every.istioNamespace, every.revision = "", ""
		observer, err := every.observer(c, false)
		if err != nil {
			return nil, time.Time{}, err
		}
		s, err := observer.planes(ctx)
		if err != nil {
			return nil, time.Time{}, err
		}
		proxies = o.ofPlane(proxies, s.ControlPlanes)
	}
	now := time.Now()
	o.read(ctx, kube, dialer, proxies)
	return proxies, now, context.Cause(ctx)
}

// ofPlane keeps the proxies of the control planes that -i and --revision name, and
// those that are of none that was seen: to leave them out would call them good.
func (o envoyOptions) ofPlane(proxies []mesh.Proxy, planes []mesh.ControlPlane) []mesh.Proxy {
	return slices.DeleteFunc(proxies, func(p mesh.Proxy) bool {
		plane, ok := mesh.PlaneOf(p, planes)
		return ok && (o.istioNamespace != "" && plane.Namespace != o.istioNamespace || o.revision != "" && !plane.GoesBy(o.revision))
	})
}

// read fills in what each proxy has loaded, or why that is not known. Of one that
// cannot be reached by port-forward, the agent's metrics may still say when its
// leaf ends: less than a proof, and named as such.
func (o envoyOptions) read(ctx context.Context, kube kubernetes.Interface, dialer proxy.Dialer, proxies []mesh.Proxy) {
	all := make([]*mesh.Proxy, len(proxies))
	for i := range proxies {
		all[i] = &proxies[i]
	}
	reader := &proxy.Reader{Dialer: dialer, Now: time.Now, Concurrency: o.concurrency, Timeout: o.proxyTimeout}
	mesh.Load(ctx, reader, all, func(_ *mesh.Proxy, t *proxy.Target) { t.Counters = o.counters }, func() {})
	var group errgroup.Group
	group.SetLimit(o.concurrency)
	for _, p := range all {
		if p.Error == "" || p.Kind == mesh.Ztunnel {
			continue
		}
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, o.proxyTimeout)
			defer cancel()
			// Without metrics it is unreadable, which it is anyway.
			if end, err := proxy.ReadLeafEnd(ctx, kube, p.Pod(), p.StatusPort, time.Now()); err == nil {
				p.Error += "; by its metrics its certificate ends at " + stamp(end)
			}
			return nil
		})
	}
	_ = group.Wait() // no member fails
}
