package mesh

import (
	"context"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// proxies lists every pod once and reads the proxies among them.
func (g *gatherer) proxies(ctx context.Context, parts Parts) {
	var all []Proxy
	err := pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Kube.CoreV1().Pods("").List(ctx, o)
		if err != nil {
			return "", err
		}
		for i := range page.Items {
			pod := &page.Items[i]
			if isZtunnel(pod) && !ended(pod) {
				all = append(all, ztunnelOf(pod))
			} else if p, ok := ProxyOf(pod); ok {
				all = append(all, p)
			} else if b, ok := bareOf(pod); ok {
				g.bare = append(g.bare, b)
			}
		}
		return page.Continue, nil
	}, metav1.ListOptions{}, func() { all, g.bare = nil, nil })
	if err != nil {
		g.gap("pods of all namespaces", "list", "pods", "", err)
	}
	g.read(ctx, all, parts)
	g.s.Proxies = all
}

// read fills in what each proxy has loaded, or why that is not known.
func (g *gatherer) read(ctx context.Context, proxies []Proxy, parts Parts) {
	var targets []proxy.Target
	index := make(map[proxy.Pod]*Proxy, len(proxies))
	for i := range proxies {
		p := &proxies[i]
		switch {
		case parts.Known[p.UID] != nil && !parts.Counters:
			p.Loaded = parts.Known[p.UID]
		case p.Starting:
			p.Error = "it has not started yet"
			if p.Phase != "" {
				p.Error += ": the pod is " + p.Phase
			}
		case g.Dialer == nil:
			p.Error = "it was not asked"
		default:
			pod := proxy.Pod{Namespace: p.Namespace, Name: p.Name}
			targets = append(targets, proxy.Target{Pod: pod, AdminPort: p.AdminPort, Ztunnel: p.Kind == Ztunnel, Counters: parts.Counters, Info: p.Version == ""})
			index[pod] = p
		}
	}
	reader := proxy.Reader{Dialer: g.Dialer, Now: g.Now, Concurrency: g.Concurrency, Timeout: g.Timeout}
	done := 0
	reader.Read(ctx, targets, func(r proxy.Result) {
		p := index[r.Target.Pod]
		if p.Loaded, p.Upstreams = r.Loaded, r.Upstreams; r.Err != nil {
			p.Error = r.Err.Error()
		}
		if done++; g.Progress != nil {
			g.Progress(done, len(targets))
		}
	})
}
