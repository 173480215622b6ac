package mesh

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

// releases asks the istiods whose images name no release, or none to its patch. One that
// does not say it either stays as unknown as it is: charts' labels carry the chart's
// version, not istiod's.
func (g *gatherer) releases(ctx context.Context) {
	if g.Dialer == nil {
		return
	}
	var wg sync.WaitGroup
	for i := range g.s.ControlPlanes {
		plane := &g.s.ControlPlanes[i]
		for j := range plane.Replicas {
			if r := &plane.Replicas[j]; !exact(r.Version) && r.Ready {
				wg.Go(func() {
					r.Version = cmp.Or(g.release(ctx, proxy.Pod{Namespace: plane.Namespace, Name: r.Pod}), r.Version)
				})
			}
		}
	}
	wg.Wait()
	for i := range g.s.ControlPlanes {
		if plane := &g.s.ControlPlanes[i]; !plane.citadel && !exact(plane.Version) {
			plane.Version = cmp.Or(oldest(plane.Replicas), plane.Version)
			if plane.Version != "" && plane.container != nil {
				plane.Flags = (&environment{container: plane.container}).flags(plane.Version)
			}
		}
	}
}

// oldest is the release that every replica has at least, "" where one of them is
// unknown.
func oldest(replicas []Istiod) (version string) {
	for _, r := range replicas {
		if r.Version == "" {
			return ""
		}
		if version == "" || Before(r.Version, version) {
			version = r.Version
		}
	}
	return version
}

func (g *gatherer) release(ctx context.Context, pod proxy.Pod) string {
	timeout := g.Timeout
	if timeout <= 0 {
		timeout = proxy.DefaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return g.Dialer.DialPod(ctx, pod, proxy.MonitoringPort)
	}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/version", nil)
	if err != nil {
		return ""
	}
	response, err := (&http.Client{Transport: transport, Timeout: timeout}).Do(request)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	const longest = 1 << 10
	raw, err := io.ReadAll(io.LimitReader(response.Body, longest))
	if err != nil || response.StatusCode != http.StatusOK {
		return ""
	}
	return releaseOf(string(raw))
}

// releaseOf takes the release from VERSION-REVISION-STATUS (istio 1.30.3
// pkg/version/version.go, BuildInfo.String).
func releaseOf(text string) string {
	text = strings.TrimSpace(text)
	for range 2 {
		i := strings.LastIndex(text, "-")
		if i < 0 {
			return ""
		}
		text = text[:i]
	}
	return versionOfImage("istiod:" + text)
}
