package mesh

import (
	"context"
	"slices"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// proxies lists every pod once and reads the proxies among them.
func (g *gatherer) proxies(ctx context.Context, parts Parts) {
	var all []Proxy
	var mounts []TrustMount
	names := g.trustNames()
	var audiences []string
	for _, plane := range g.s.ControlPlanes {
		audiences = append(audiences, plane.audiences...)
	}
	err := pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Kube.CoreV1().Pods("").List(ctx, o)
		if err != nil {
			return "", err
		}
		for i := range page.Items {
			pod := &page.Items[i]
			if !ended(pod) {
				mounts = append(mounts, g.trustMountsOf(pod, names)...)
			}
			if p, ok := g.proxyOf(ctx, pod, audiences); ok {
				all = append(all, p)
			} else if b, ok := bareOf(pod); ok {
				g.bare = append(g.bare, b)
			}
		}
		return page.Continue, nil
	}, metav1.ListOptions{}, func() { all, g.bare, mounts = nil, nil, nil })
	if err != nil {
		g.gap("pods of all namespaces", "list", "pods", "", err)
	}
	all = slices.DeleteFunc(all, g.elsewhere)
	g.read(ctx, all, parts)
	g.s.Proxies, g.s.TrustMounts = all, mounts
}

// read fills in what each proxy has loaded, or why that is not known.
func (g *gatherer) read(ctx context.Context, proxies []Proxy, parts Parts) {
	var asked []*Proxy
	for i := range proxies {
		p := &proxies[i]
		switch {
		case parts.Known[p.UID] != nil && !parts.Counters:
			p.Loaded = parts.Known[p.UID]
		case p.Quit:
			p.Error = "it has quit, and is not started again"
		case p.Starting:
			p.Error = "it has not started yet"
			if p.Phase != "" {
				p.Error += ": the pod is " + p.Phase
			}
		case g.Dialer == nil || parts.Unread:
			p.Error = "it was not asked"
		default:
			asked = append(asked, p)
		}
	}
	reader := &proxy.Reader{Dialer: g.Dialer, Now: g.Now, Concurrency: g.Concurrency, Timeout: g.Timeout}
	done := 0
	Load(ctx, reader, asked, func(p *Proxy, t *proxy.Target) {
		t.Counters, t.Info, t.Bootstrap = parts.Counters, !exact(p.Version), g.Bootstraps
	}, func() {
		if done++; g.Progress != nil {
			g.Progress(done, len(asked))
		}
	})
}

// Load reads every proxy and fills in what it has loaded and counted, or its
// error. more says what else is asked of one; each is called after each of them,
// one at a time.
func Load(ctx context.Context, reader *proxy.Reader, proxies []*Proxy, more func(*Proxy, *proxy.Target), each func()) {
	targets := make([]proxy.Target, 0, len(proxies))
	index := make(map[proxy.Pod]*Proxy, len(proxies))
	for _, p := range proxies {
		if p.Opaque {
			p.Error = "it is neither an Envoy nor a ztunnel, and has a certificate of the mesh: what it has loaded cannot be read from here"
			each()
			continue
		}
		target := proxy.Target{Pod: p.Pod(), AdminPort: p.AdminPort, Ztunnel: p.Kind == Ztunnel}
		more(p, &target)
		targets = append(targets, target)
		index[target.Pod] = p
	}
	reader.Read(ctx, targets, func(r proxy.Result) {
		p := index[r.Target.Pod]
		if p.Loaded, p.Upstreams = r.Loaded, r.Upstreams; r.Err != nil {
			p.Error = r.Err.Error()
		}
		each()
	})
}
