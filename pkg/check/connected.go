package check

import (
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// connectedRule: a proxy that no istiod serves gets no pushed root, and one that has
// not taken what it was sent may not have taken that either. Left out are ztunnels, and
// what is neither: how they show was never seen on a real one.
func connectedRule() Rule {
	return Rule{ID: "proxies-connected", Category: Proxies, About: "every proxy is connected to an istiod and has taken what it was sent",
		Needs: "no istiod was asked who is connected to it", Reads: istiods(), Run: connected}
}

func connected(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
	behind, unread := map[string][]string{}, map[string]string{}
	asked, unknown, strays := 0, 0, 0
	for _, plane := range s.ControlPlanes {
		for _, r := range plane.Replicas {
			if r.ClientsError != "" {
				unknown++
				f := Finding{ID: "connections-unknown", Severity: pki.SeverityWarning, Object: "istiod " + plane.Namespace + "/" + r.Pod, Message: "which proxies are connected to it is not known: " + r.ClientsError, Hint: "is the pod healthy, and may it be port-forwarded to?"}
				if strings.Contains(r.ClientsError, "answered 404") {
					f.Hint = "its debug interface is off: ENABLE_DEBUG_ON_HTTP=true on istiod turns it on"
				}
				all = append(all, f)
				continue
			}
			if r.Clients == nil {
				continue
			}
			asked++
			for _, c := range r.Clients {
				if c.Unread != "" && c.Proxy == "" {
					strays++
					all = append(all, Finding{ID: "connections-unknown", Severity: pki.SeverityWarning, Object: "istiod " + plane.Namespace + "/" + r.Pod, Message: "who one of its clients is cannot be read: " + c.Unread, Hint: "'istioctl proxy-status' lists them; it may be no proxy, and another release may write it otherwise"})
					continue
				}
				if c.Unread != "" {
					unread[c.Proxy] = c.Unread
					continue
				}
				// One that has moved to another istiod may show on both for a moment.
				if before, ok := behind[c.Proxy]; !ok || len(c.Behind) < len(before) {
					behind[c.Proxy] = c.Behind
				}
			}
		}
	}
	if asked+unknown == 0 {
		return nil, 0
	}
	var lost, maybe []string
	var kinds crowds[string]
	for _, p := range s.Proxies {
		if p.Idle() || p.Terminating || p.Kind == mesh.Ztunnel || p.Opaque {
			continue
		}
		looked++
		switch what, ok := behind[p.Ref()]; {
		case !ok && unread[p.Ref()] != "":
			all = append(all, Finding{ID: "connections-unknown", Severity: pki.SeverityWarning, Object: "proxy " + p.Ref(), Message: "connected, and what it has acknowledged cannot be read: " + unread[p.Ref()], Hint: "'istioctl proxy-status' shows it; another release of istiod may write it otherwise", proxies: []string{p.Ref()}})
		case !ok && unknown == 0 && strays > 0: // it may be who cannot be read
			maybe = append(maybe, p.Ref())
		case !ok && unknown == 0: // where an istiod was not read, it may be that one's
			lost = append(lost, p.Ref())
		case len(what) > 0:
			kinds.add(strings.Join(what, ", "), p.Ref())
		}
	}
	switch {
	case len(lost) > 0 && len(s.LeftOut) > 0:
		all = append(all, Finding{ID: "connections-unknown", Severity: pki.SeverityInfo, Object: crowd(lost), Message: "connected to none of the istiods that were asked; it may be to " + strings.Join(s.LeftOut, ", ") + ", which --revision leaves out", Hint: "leave --revision out to see", proxies: lost})
	case len(lost) > 0:
		all = append(all, Finding{ID: "proxy-disconnected", Severity: pki.SeverityWarning, Object: crowd(lost), Message: "connected to no istiod: no pushed root reaches it, and its next certificate may not", Hint: "its log says why it cannot connect ('kubectl logs -c istio-proxy'); restart the pod where its agent has given up", proxies: lost})
	}
	if len(maybe) > 0 {
		all = append(all, Finding{ID: "connections-unknown", Severity: pki.SeverityWarning, Object: crowd(maybe), Message: "not among the clients of istiods that could be read; it may be one that could not", Hint: "its log says whether it is connected ('kubectl logs -c istio-proxy')", proxies: maybe})
	}
	for _, kind := range kinds.order {
		all = append(all, Finding{ID: "proxy-behind", Severity: pki.SeverityWarning, Object: crowd(kinds.refs[kind]), Message: "has not acknowledged the last " + kind + " that istiod sent", Hint: "look again: a push takes seconds; one that stays so has refused it, and its log and istiod's say why", proxies: kinds.refs[kind]})
	}
	return all, looked
}
