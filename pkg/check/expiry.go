package check

import (
	"fmt"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

func expiryRules() []Rule {
	return []Rule{
		{ID: "ca-expiry", Category: Expiry, About: "no root and no intermediate ends soon", Run: func(s *mesh.Snapshot, p Policy) (all []Finding, looked int) {
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
				look("root in "+caObject(plane), plane.CA.Root.Certs)
				look("signer in "+caObject(plane), plane.CA.Cert.Certs)
				look("chain in "+caObject(plane), plane.CA.Chain.Certs)
				for _, r := range plane.Replicas {
					if r.Served != nil && len(r.Served.Chain) > 0 {
						look("chain that istiod "+plane.Namespace+"/"+r.Pod+" serves", r.Served.Chain)
					}
				}
			}
			for _, n := range s.Namespaces {
				if n.Trust != nil {
					look("root in configmap "+n.Name+"/"+n.Trust.Name, n.Trust.Bundle.Certs)
				}
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
		}},
		{ID: "leaf-expiry", Category: Expiry, About: "no proxy's certificate has ended or is overdue for renewal", Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			for _, p := range s.Proxies {
				if p.Loaded == nil {
					continue
				}
				for _, i := range p.Loaded.Identities {
					leaf := i.Leaf()
					if leaf == nil || leaf.X509 == nil {
						continue
					}
					looked++
					x := leaf.X509
					life, left := x.NotAfter.Sub(x.NotBefore), x.NotAfter.Sub(s.TakenAt)
					switch {
					case left <= 0:
						all = append(all, Finding{ID: "leaf-expired", Severity: pki.SeverityError, Object: "proxy " + p.Ref(), Message: "its certificate expired at " + stamp(x.NotAfter), Hint: "its agent cannot renew: look at its log, restart the pod"})
					case left < life/4:
						// Renewal comes at half of the life.
						all = append(all, Finding{ID: "leaf-overdue", Severity: pki.SeverityWarning, Object: "proxy " + p.Ref(), Message: fmt.Sprintf("its certificate ends in %s and should have been renewed", left.Round(time.Second)), Hint: "its agent may not reach istiod, or not trust it: look at its log"})
					}
				}
			}
			return all, looked
		}},
		{ID: "ttl", Category: Expiry, About: "the CA outlives the leaves it signs", Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			for _, plane := range s.ControlPlanes {
				for _, c := range plane.CA.Cert.Certs[:min(1, len(plane.CA.Cert.Certs))] {
					if c.X509 == nil {
						continue
					}
					looked++
					left := c.X509.NotAfter.Sub(s.TakenAt)
					if ttl := time.Duration(plane.Flags.DefaultWorkloadTTL); left > 0 && left < ttl {
						all = append(all, Finding{Severity: pki.SeverityError, Object: caObject(plane), Message: fmt.Sprintf("the signer ends in %s, and leaves are asked for %s", left.Round(time.Minute), ttl), Hint: "rotate now: leaves are cut short, or outlive their CA"})
					}
				}
			}
			return all, looked
		}},
		{ID: "clock", Category: Expiry, About: "this machine's clock agrees with the cluster's", Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			skew := time.Duration(s.ClockSkew)
			if skew > time.Minute || skew < -time.Minute {
				all = append(all, Finding{Severity: pki.SeverityWarning, Object: "clock", Message: fmt.Sprintf("this machine is %s ahead of the API server", skew), Hint: "every verdict about dates uses this machine's clock"})
			}
			return all, 1
		}},
	}
}

// ends judges one CA certificate by S1's thresholds.
func ends(where string, c *pki.Certificate, at time.Time, p Policy) []Finding {
	if c.X509 == nil {
		return []Finding{{ID: "unparsable", Severity: pki.SeverityError, Object: where, Message: c.Subject() + ": " + c.Err.Error(), Hint: "its end is not known: have it issued anew"}}
	}
	left := c.X509.NotAfter.Sub(at)
	days := int(left.Hours() / 24)
	f := Finding{Object: where, Message: fmt.Sprintf("%s ends in %d days, at %s (clock: %s)", c.Subject(), days, stamp(c.X509.NotAfter), stamp(at))}
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

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
