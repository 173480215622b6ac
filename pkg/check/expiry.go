package check

import (
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/internal/plain"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// End is when a root or a signer of the mesh ends.
type End struct {
	// Role is root, or signer.
	Role        string          `json:"role"`
	Subject     string          `json:"subject"`
	Fingerprint pki.Fingerprint `json:"fingerprint"`
	NotAfter    time.Time       `json:"notAfter"`
	// Days are whole days from the Snapshot's moment, negative when it has ended.
	Days int `json:"days"`
}

// Ends are those of the mesh's own roots and of what its control planes sign
// with, the first one first.
func Ends(s *mesh.Snapshot) []End {
	var all []End
	seen := pki.Set{}
	add := func(role string, certs []*pki.Certificate) {
		for _, c := range certs {
			if c.X509 != nil && !seen.Has(c) {
				seen[c.Fingerprint()] = c
				all = append(all, End{Role: role, Subject: c.Subject(), Fingerprint: c.Fingerprint(), NotAfter: c.X509.NotAfter, Days: daysLeft(c, s.TakenAt)})
			}
		}
	}
	if expect, ok := rotation.Present(s); ok {
		add("root", expect.Roots)
		add("root", expect.Trusted)
	}
	for _, plane := range s.ControlPlanes {
		add("root", plane.CA.Root.Certs)
		add("signer", plane.CA.Cert.Certs)
	}
	slices.SortStableFunc(all, func(a, b End) int { return a.NotAfter.Compare(b.NotAfter) })
	return all
}

func daysLeft(c *pki.Certificate, at time.Time) int { return pki.DaysLeft(c.X509.NotAfter, at) }

func expiryRules() []Rule {
	return []Rule{
		{ID: "ca-expiry", Category: Expiry, About: "no root and no intermediate ends soon", Needs: "no certificate of a CA was read", Reads: istiods("configmaps"), Run: caExpiry},
		{ID: "root-renewal", Category: Expiry, About: "an istiod that certifies its root anew by itself breaks nothing with it", Facts: true, Needs: "its root was not read", Reads: istiods("secrets"), Run: renewals(mesh.CASelfSigned, istiodRenewal)},
		{ID: "leaf-expiry", Category: Expiry, About: "no proxy's certificate has ended or is overdue for renewal", Needs: "no proxy was read", Reads: []string{"pods"}, Run: leafExpiry},
		{ID: "serving-expiry", Category: Expiry, About: "no istiod's serving certificate has ended or is overdue", Needs: "no chain of an istiod was read", Reads: istiods(), Run: servingExpiry},
		{ID: "ttl", Category: Expiry, About: "the CA outlives the leaves it signs", Needs: "what istiods sign with was not read", Reads: istiods("secrets"), Run: ttl},
		{ID: "ttl-limit", Category: Expiry, About: "no proxy asks for a longer life than istiod grants", Needs: "no proxy's wish or no istiod's limit is known", Reads: []string{"pods"}, Run: ttlLimit},
		{ID: "clock", Category: Expiry, About: "this machine's clock agrees with the cluster's", Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			skew := time.Duration(s.ClockSkew)
			if skew > time.Minute || skew < -time.Minute {
				word := "ahead of"
				if skew < 0 {
					word = "behind"
				}
				all = append(all, Finding{Severity: pki.SeverityWarning, Object: "clock", Message: fmt.Sprintf("this machine is %s %s the API server", skew.Abs(), word), Hint: "what is said here about dates goes by this machine's clock"})
			}
			return all, 1
		}},
	}
}

// caExpiry looks at every certificate of a CA, wherever it is, once.
func caExpiry(s *mesh.Snapshot, p Policy) (all []Finding, looked int) {
	seen := pki.Set{}
	look := func(where string, certs []*pki.Certificate) {
		for _, c := range certs {
			if seen.Has(c) {
				continue
			}
			seen[c.Fingerprint()] = c
			looked++
			all = append(all, ends(where, c, s.TakenAt, p)...)
		}
	}
	for _, plane := range s.ControlPlanes {
		if found, renewed := managedExpiry(s, plane); renewed {
			seen[plane.CA.Cert.Certs[0].Fingerprint()] = plane.CA.Cert.Certs[0]
			looked++
			all = append(all, found...)
		}
		look("root in "+caObject(plane), plane.CA.Root.Certs)
		look("signer in "+caObject(plane), plane.CA.Cert.Certs)
		look("chain in "+caObject(plane), plane.CA.Chain.Certs)
		for _, r := range plane.Replicas {
			object := "istiod " + plane.Namespace + "/" + r.Pod
			if r.Served != nil && len(r.Served.Chain) > 0 {
				look("chain that "+object+" serves", r.Served.Chain[1:])
			}
			if r.Signed != nil {
				look("root that "+object+" hands out", r.Signed.Roots)
				if len(r.Signed.Chain) > 0 {
					look("chain that "+object+" signs with", r.Signed.Chain[1:])
				}
			}
		}
	}
	for _, n := range s.Namespaces {
		if n.Trust != nil && !s.Unkept(n) {
			look("root in configmap "+n.Name+"/"+n.Trust.Name, n.Trust.Bundle.Certs)
		}
	}
	if s.ClusterTrustBundle != nil {
		look("root in ClusterTrustBundle "+s.ClusterTrustBundle.Name, s.ClusterTrustBundle.Bundle.Certs)
	}
	for _, w := range s.Webhooks {
		look("root in webhook "+w.Config+"/"+w.Name, w.CABundle.Certs)
	}
	look("root in meshConfig.caCertificates", s.MeshCACertificates)
	for _, proxy := range s.Proxies {
		if proxy.Loaded == nil {
			continue
		}
		for _, i := range proxy.Loaded.Identities {
			look("root that proxy "+proxy.Ref()+" trusts", i.Roots)
			if len(i.Chain) > 1 {
				look("chain that proxy "+proxy.Ref()+" presents", i.Chain[1:])
			}
		}
	}
	return all, looked
}

// ends judges one CA certificate by the policy's thresholds.
func ends(where string, c *pki.Certificate, at time.Time, p Policy) []Finding {
	if c.X509 == nil {
		return []Finding{{ID: "ca-unparsable", Severity: pki.SeverityError, Object: where, Message: c.Subject() + ": " + unparsable(c), Hint: "its end is not known: have it issued anew"}}
	}
	_, left := life(c, at)
	f := Finding{Object: where, Message: fmt.Sprintf("%s ends in %d days, at %s (clock: %s)", c.Subject(), daysLeft(c, at), stamp(c.X509.NotAfter), stamp(at))}
	switch {
	case left <= 0:
		f.ID, f.Severity, f.Hint = "ca-expired", pki.SeverityError, "every handshake that needs it fails: this is an outage of the mesh, not a warning"
		f.Message = fmt.Sprintf("%s expired at %s (clock: %s)", c.Subject(), stamp(c.X509.NotAfter), stamp(at))
	case at.Before(c.X509.NotBefore):
		f.ID, f.Severity, f.Hint = "ca-not-yet-valid", pki.SeverityError, "clocks differ, or it was dated ahead"
		f.Message = fmt.Sprintf("%s is not valid before %s (clock: %s)", c.Subject(), stamp(c.X509.NotBefore), stamp(at))
	case left < p.FailBefore:
		f.ID, f.Severity, f.Hint = "ca-ends-soon", pki.SeverityError, "rotate now: when it ends, the whole mesh stops"
	case left < p.WarnBefore:
		f.ID, f.Severity, f.Hint = "ca-ends-soon", pki.SeverityWarning, "plan the rotation: when it ends, the whole mesh stops"
	default:
		return nil
	}
	return []Finding{f}
}

// leafExpiry judges each leaf for itself: agents renew while the share GraceRatio
// of the life is left, ztunnels at half of it.
func leafExpiry(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
	for _, p := range s.Proxies {
		if p.Loaded == nil {
			continue
		}
		for _, i := range p.Loaded.Identities {
			leaf := i.Leaf()
			if leaf == nil {
				continue // the rule on agreement names it
			}
			looked++
			f := Finding{Object: "proxy " + p.Ref(), proxies: []string{p.Ref()}}
			ratio := p.GraceRatio
			if p.Kind == mesh.Ztunnel || ratio <= 0 || ratio > 1 {
				ratio = 0.5
			}
			if leaf.X509 == nil {
				f.ID, f.Severity, f.Message, f.Hint = "leaf-unparsable", pki.SeverityError, "its certificate cannot be parsed: "+unparsable(leaf), "its end is not known"
				all = append(all, f)
				continue
			}
			switch whole, left := life(leaf, s.TakenAt); {
			case left <= 0:
				f.ID, f.Severity, f.Hint = "leaf-expired", pki.SeverityError, "its agent cannot renew: look at its log, restart the pod"
				f.Message = fmt.Sprintf("its certificate expired at %s (clock: %s)", stamp(leaf.X509.NotAfter), stamp(s.TakenAt))
			case s.TakenAt.Before(leaf.X509.NotBefore):
				f.ID, f.Severity, f.Hint = "leaf-not-yet-valid", pki.SeverityError, "clocks differ: its peers refuse it"
				f.Message = fmt.Sprintf("its certificate is not valid before %s (clock: %s)", stamp(leaf.X509.NotBefore), stamp(s.TakenAt))
			case float64(left) < float64(whole)*ratio/2:
				f.ID, f.Severity, f.Hint = "leaf-overdue", pki.SeverityWarning, "its agent may not reach istiod, or not trust it: look at its log"
				f.Message = fmt.Sprintf("its certificate ends in %s and should have been renewed", left.Round(time.Second))
			}
			if f.ID != "" {
				all = append(all, f)
			}
		}
	}
	return all, looked
}

// servingExpiry: istiod's own CA signs it for ten years; another's (istio-csr)
// may be short, and is renewed by its maker.
func servingExpiry(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
	for _, plane := range s.ControlPlanes {
		for _, r := range plane.Replicas {
			if r.Served == nil || len(r.Served.Chain) == 0 {
				continue
			}
			looked++
			c := r.Served.Chain[0]
			f := Finding{Object: "istiod " + plane.Namespace + "/" + r.Pod, Hint: "agents refuse it when it has ended, and no certificate is renewed any more: see who renews it"}
			if c.X509 == nil {
				f.ID, f.Severity, f.Message = "serving-unparsable", pki.SeverityError, "its serving certificate cannot be parsed: "+unparsable(c)
				all = append(all, f)
				continue
			}
			switch whole, left := life(c, s.TakenAt); {
			case left <= 0:
				f.ID, f.Severity, f.Message = "serving-expired", pki.SeverityError, fmt.Sprintf("its serving certificate expired at %s (clock: %s)", stamp(c.X509.NotAfter), stamp(s.TakenAt))
			case s.TakenAt.Before(c.X509.NotBefore):
				f.ID, f.Severity, f.Message = "serving-not-yet-valid", pki.SeverityError, fmt.Sprintf("its serving certificate is not valid before %s (clock: %s)", stamp(c.X509.NotBefore), stamp(s.TakenAt))
			case left < whole/5:
				f.ID, f.Severity, f.Message = "serving-overdue", pki.SeverityWarning, fmt.Sprintf("its serving certificate ends in %s, at %s", left.Round(time.Second), stamp(c.X509.NotAfter))
			}
			if f.ID != "" {
				all = append(all, f)
			}
		}
	}
	return all, looked
}

// ttl holds the lives that leaves are asked for against what is left of the
// signer and of all above it.
func ttl(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
	for _, plane := range s.ControlPlanes {
		var first *pki.Certificate
		for _, list := range [][]*pki.Certificate{plane.CA.Cert.Certs, plane.CA.Chain.Certs, plane.CA.Root.Certs} {
			if len(list) > 0 && list[0].X509 != nil && (first == nil || list[0].X509.NotAfter.Before(first.X509.NotAfter)) {
				first = list[0]
			}
		}
		if first == nil {
			continue
		}
		looked++
		_, left := life(first, s.TakenAt)
		wanted, by := time.Duration(plane.Flags.DefaultWorkloadTTL), "istiod's default"
		for _, p := range s.Proxies {
			if serves(s, plane, p) && time.Duration(p.SecretTTL) > wanted {
				wanted, by = time.Duration(p.SecretTTL), "proxy "+p.Ref()
			}
		}
		if left > 0 && left < wanted {
			all = append(all, Finding{Severity: pki.SeverityError, Object: caObject(plane), Message: fmt.Sprintf("%s ends in %s, and leaves are asked for %s (%s)", first.Subject(), plain.Span(left.Round(time.Minute)), plain.Span(wanted), by), Hint: "rotate now: leaves are cut short, or outlive their CA"})
		} else if most := time.Duration(plane.Flags.MaxWorkloadTTL); left > 0 && left < most {
			all = append(all, Finding{ID: "ttl-max", Severity: pki.SeverityInfo, Object: caObject(plane), Message: fmt.Sprintf("%s ends in %s, and leaves of up to %s may be asked for", first.Subject(), plain.Span(left.Round(time.Minute)), plain.Span(most)), Hint: "ask for no leaf that outlives its CA"})
		}
	}
	return all, looked
}

// ttlLimit: istiod refuses a request for more than MAX_WORKLOAD_CERT_TTL, so that
// the proxy never gets a certificate again.
func ttlLimit(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
	type kind struct {
		wanted, most time.Duration
	}
	var over crowds[kind]
	for _, p := range s.Proxies {
		for _, plane := range s.ControlPlanes {
			k := kind{time.Duration(p.SecretTTL), time.Duration(plane.Flags.MaxWorkloadTTL)}
			if k.wanted <= 0 || k.most <= 0 || !serves(s, plane, p) {
				continue
			}
			looked++
			if k.wanted > k.most {
				over.add(k, p.Ref())
			}
		}
	}
	for _, k := range over.order {
		all = append(all, Finding{ID: "ttl-over-limit", Severity: pki.SeverityError, Object: crowd(over.refs[k]), Message: fmt.Sprintf("asks for a certificate of %s, and istiod grants %s at most", k.wanted, k.most), Hint: "lower SECRET_TTL of the proxy, or raise MAX_WORKLOAD_CERT_TTL of istiod: it refuses the request", proxies: over.refs[k]})
	}
	return all, looked
}

// serves reports whether a proxy belongs to a control plane: as that which signs for it,
// or because there is only one.
func serves(s *mesh.Snapshot, plane mesh.ControlPlane, p mesh.Proxy) bool {
	of, ok := mesh.PlaneOf(p, s.ControlPlanes)
	return len(s.ControlPlanes) == 1 || ok && of.Namespace == plane.Namespace && of.Name == plane.Name
}
