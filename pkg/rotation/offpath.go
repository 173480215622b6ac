package rotation

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
)

// unreached names a proxy that this engine's writes do not reach at all.
func unreached(s *mesh.Snapshot) string {
	for _, p := range s.Proxies {
		if offPath(p) {
			return fmt.Sprintf("%s does not follow istiod (%s: %s)", p.Ref(), p.Reach, p.ReachWhy)
		}
	}
	return ""
}

// offPath: it takes no certificate of an istiod's, or it is not known from whom.
func offPath(p mesh.Proxy) bool {
	switch p.Reach {
	case mesh.ReachPush, mesh.ReachRenewal, mesh.ReachRestart:
		return false
	}
	return true
}

// refuseOffPath refuses once for all strategies that fail on proxies which do not follow
// istiod: no flag, key or other strategy brings these along. It reports whether any of
// the strategies that are asked for does.
func (p *Plan) refuseOffPath(s *mesh.Snapshot) bool {
	why := unreached(s)
	if why == "" || !slices.ContainsFunc(p.Options, func(o Option) bool { return p.asks(o.Strategy) && o.Why == why }) {
		return false
	}
	type kind struct{ why, remedy string }
	var order []kind
	refs := map[kind][]string{}
	for _, proxy := range s.Proxies {
		if !offPath(proxy) {
			continue
		}
		k := kind{fmt.Sprintf("%s: %s", proxy.Reach, proxy.ReachWhy), back(proxy)}
		if refs[k] == nil {
			order = append(order, k)
		}
		refs[k] = append(refs[k], proxy.Ref())
	}
	for _, k := range order {
		names := refs[k]
		object := "proxy " + strings.Join(names[:min(mostNamed, len(names))], ", ")
		if more := len(names) - mostNamed; more > 0 {
			object += fmt.Sprintf(" and %d more", more)
		}
		p.refuse("does-not-follow", object, "it does not follow istiod, whatever the strategy ("+k.why+")", k.remedy+", or take the workload out of the mesh first")
	}
	return true
}

// asks: this strategy, or any.
func (p *Plan) asks(strategy Strategy) bool {
	return p.config.Strategy == "" || p.config.Strategy == strategy
}

// back is how a proxy gets onto istiod's path.
func back(p mesh.Proxy) string {
	switch {
	case p.Unsaid != "":
		return "have its settings stand in its container's env by value, and start it anew"
	case p.Reach != mesh.ReachElsewhere:
		return "find out which control plane and release it is of ('kubectl meshca check' says what is missing)"
	case p.SPIRE:
		return "have it take its certificate from istiod (without SPIRE's injection template and volume, and started anew)"
	case p.FileMounted:
		return "have it take its certificate from istiod (without FILE_MOUNTED_CERTS, ISTIO_META_TLS_* and volumes of certificates, and started anew)"
	case p.CAProvider != "" || p.CAAddr != "":
		return "have it take its certificate from istiod (without CA_PROVIDER and CA_ADDR, and started anew)"
	}
	return "rotate where its certificate comes from"
}
