package check

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// citadelRules are about meshes of Istio 1.0 to 1.4; on others there is nothing
// that they could find.
func citadelRules() []Rule {
	const noPlane = "no control plane was seen"
	return []Rule{
		{ID: "citadel-secrets", Category: Trust, About: "every workload Secret of a Citadel holds the current root", Needs: noPlane, Reads: istiods("secrets"), Run: citadelSecrets},
		{ID: "citadel-components", Category: Trust, About: "Pilot and Galley of a Citadel mesh follow a new root", Needs: noPlane, Reads: istiods(), Run: citadelComponents},
		{ID: "citadel-injector", Category: Trust, About: "the injector of a Citadel mesh is called by the current root", Needs: noPlane, Reads: istiods("mutatingwebhookconfigurations"), Run: citadelInjector},
		{ID: "citadel-root-renewal", Category: Expiry, About: "it is known when a Citadel certifies its root anew by itself", Facts: true, Needs: "its root was not read", Reads: istiods("secrets"), Run: renewals(mesh.CACitadel, citadelRenewal)},
		{ID: "citadel-ttl", Category: Expiry, About: "a Citadel grants the lives that it is told to give", Needs: noPlane, Reads: istiods(), Run: perPlane(func(plane mesh.ControlPlane) (all []Finding) {
			wanted, most := time.Duration(plane.Flags.DefaultWorkloadTTL), time.Duration(plane.Flags.MaxWorkloadTTL)
			if plane.CA.Kind == mesh.CACitadel && wanted > most {
				all = append(all, Finding{Severity: pki.SeverityError, Object: planeObject(plane), Message: fmt.Sprintf("--workload-cert-ttl is %s and --max-workload-cert-ttl %s", wanted, most), Hint: "it issues no certificate until the first is not above the second"})
			}
			return all
		})},
	}
}

// CitadelRoots are what a Citadel hands out as roots; false where the mesh has no
// Citadel, or its CA was not read.
func CitadelRoots(s *mesh.Snapshot) ([]*pki.Certificate, bool) {
	for _, plane := range s.ControlPlanes {
		if plane.CA.Kind == mesh.CACitadel && len(plane.CA.Root.Certs) > 0 {
			return plane.CA.Root.Certs, true
		}
	}
	return nil, false
}

func citadels(s *mesh.Snapshot) int {
	n := 0
	for _, plane := range s.ControlPlanes {
		if plane.CA.Kind == mesh.CACitadel {
			n++
		}
	}
	return n
}

// citadelSecrets holds every Secret against the root by DER, and its leaf too: what
// Istio 1.4's root-transition.sh did by the text's MD5.
func citadelSecrets(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
	if citadels(s) == 0 {
		return nil, len(s.ControlPlanes)
	}
	for _, w := range SecretVerdicts(s, nil) {
		if w.Why == "" {
			continue
		}
		all = append(all, Finding{ID: w.ID, Severity: pki.SeverityError, Object: "secret " + w.Secret, Message: w.Why, Hint: "a Citadel renews it within a minute: look again; if it stays, look at Citadel's log"})
	}
	if len(s.WorkloadSecrets) == 0 {
		all = append(all, Finding{ID: "citadel-no-secrets", Severity: pki.SeverityWarning, Object: "mesh", Message: "there is a Citadel, and no Secret of the type istio.io/key-and-cert", Hint: "an empty list proves nothing: may you list secrets in all namespaces?"})
	}
	return all, len(s.WorkloadSecrets)
}

// SecretVerdict is what is wrong with one workload Secret of a Citadel.
type SecretVerdict struct {
	ID     string
	Secret string
	// Why is "" where the Secret holds the current root, and a certificate that it
	// vouches for.
	Why string
	// Unknown is true where nothing tells.
	Unknown bool
}

// SecretVerdicts judges every workload Secret of a Citadel mesh, by its CA's root
// or by the roots given.
func SecretVerdicts(s *mesh.Snapshot, want *pki.Bundle) (all []SecretVerdict) {
	if citadels(s) == 0 {
		return nil
	}
	roots, known := CitadelRoots(s)
	if want != nil {
		roots, known = want.Certs, len(want.Certs) > 0
	}
	for _, w := range s.WorkloadSecrets {
		v := SecretVerdict{Secret: w.Ref()}
		switch {
		case w.Error != "":
			v.ID, v.Why = "citadel-secret-faulty", "it cannot be read: "+w.Error
		case !known:
			v.ID, v.Why, v.Unknown = "citadel-secret-unknown", "Citadel's own root could not be read", true
		case !w.Matches(roots):
			v.ID, v.Why = "citadel-secret-stale", "its root is "+w.Roots[0].Subject()+" ("+w.Roots[0].Fingerprint().Short()+"), not the current "+roots[0].Subject()+" ("+roots[0].Fingerprint().Short()+")"
		default:
			answer := pki.Verify(pki.Question{Judge: pki.Envoy, Roots: roots, Chain: w.Chain, At: s.TakenAt, Usage: pki.ServerAuth})
			if answer.Result != pki.Accepted {
				v.ID, v.Why = "citadel-secret-refused", "its certificate is not accepted under its root: "+answer.Reason
			}
		}
		all = append(all, v)
	}
	return all
}

// citadelComponents sees beforehand which parts keep the old root in memory: a
// Pilot without a sidecar, and Galley, where the control plane is secured.
func citadelComponents(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
	if citadels(s) == 0 {
		return nil, len(s.ControlPlanes)
	}
	secured := s.MTLS.ControlPlaneAuthPolicy == mesh.MutualTLS
	since := newestSecret(s)
	for _, c := range s.Components {
		looked++
		object := c.Role + " " + c.Namespace + "/" + c.Pod
		stale := !c.Started.IsZero() && c.Started.Before(since)
		switch {
		case c.Role == "pilot" && !c.Sidecar && secured:
			f := Finding{ID: "pilot-without-sidecar", Severity: pki.SeverityWarning, Object: object, Message: "it has no sidecar, and the control plane is secured: it goes on judging by the root of its own start, and proxies lose it with 'handshake error'", Hint: "after the transition restart Galley, then Pilot: kubectl -n " + c.Namespace + " delete pod " + c.Pod}
			if stale {
				f.ID, f.Severity, f.Message = "pilot-stale", pki.SeverityError, "it has no sidecar and has run since before the root changed at "+stamp(since)+": it judges by the old one"
				f.Hint = "restart Galley, then Pilot: kubectl -n " + c.Namespace + " delete pod " + c.Pod
			}
			all = append(all, f)
		case c.Role == "galley" && secured && stale:
			all = append(all, Finding{ID: "galley-stale", Severity: pki.SeverityWarning, Object: object, Message: "it has run since before the root changed at " + stamp(since), Hint: "where Pilot logs 'handshake error', restart it first: kubectl -n " + c.Namespace + " delete pod " + c.Pod})
		}
	}
	return all, looked
}

// newestSecret is when the root changed, as far as can be told: Istio 1.4's root-transition.sh
// deletes the CA's Secret and creates it. One that is changed in place, as by a
// renewal here, tells by what Citadel issued then: the first certificate that is
// younger than the root, or the root itself, which is dated back by an hour at most.
// That hour is none where the Secret was made in it: a fresh mesh, whose first
// certificates may have been renewed since. (Citadel and OpenSSL date nothing back:
// istio 1.4.10 security/pkg/pki/util/generate_cert.go:267, 296.)
func newestSecret(s *mesh.Snapshot) (at time.Time) {
	for _, plane := range s.ControlPlanes {
		if plane.CA.Kind != mesh.CACitadel {
			continue
		}
		if plane.CA.Created.After(at) {
			at = plane.CA.Created
		}
		if len(plane.CA.Root.Certs) == 0 || plane.CA.Root.Certs[0].X509 == nil {
			continue
		}
		from := plane.CA.Root.Certs[0].X509.NotBefore
		within := func(t time.Time) bool { return !t.Before(from) && t.Before(from.Add(pki.Backdating)) }
		changed, issued := from.Add(pki.Backdating), false
		for _, w := range s.WorkloadSecrets {
			if len(w.Chain) == 0 || w.Chain[0].X509 == nil {
				continue
			}
			if first := w.Chain[0].X509.NotBefore; within(first) && first.Before(changed) {
				changed, issued = first, true
			}
		}
		if made := plane.CA.Created; !issued && within(made.Add(clocksApart)) {
			changed = made
		}
		if changed.After(at) {
			at = changed
		}
	}
	return at
}

// clocksApart is how much the API server's clock, which dates the Secret, may be behind
// Citadel's, which dates the root.
const clocksApart = time.Minute

// citadelInjector: before 1.0.8 and 1.1.8 the injector keeps the certificate of its
// start, and the API server refuses it once the root has changed.
func citadelInjector(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
	roots, known := CitadelRoots(s)
	if citadels(s) == 0 {
		return nil, len(s.ControlPlanes)
	}
	since := newestSecret(s)
	dns := func(c mesh.Component) bool { return c.Role == "sidecar-injector" && c.DNS }
	for _, w := range s.Webhooks {
		if w.Kind != "MutatingWebhookConfiguration" {
			continue
		}
		looked++
		if slices.ContainsFunc(s.Components, dns) {
			continue // the API server judges it by the cluster's CA, whatever Citadel's root is
		}
		namespace, _, _ := strings.Cut(w.Service, "/")
		if known && w.Error == "" && !pki.NewSet(w.CABundle.Certs...).Equal(pki.NewSet(roots...)) {
			all = append(all, Finding{ID: "injector-stale", Severity: pki.SeverityError, Object: "webhook " + w.Config + "/" + w.Name, Message: "its caBundle is not the current root: new pods get no sidecar, or are refused", Hint: "restart the injector, which writes it anew: kubectl -n " + namespace + " delete pod -l istio=sidecar-injector"})
		}
	}
	for _, c := range s.Components {
		if c.Role != "sidecar-injector" {
			continue
		}
		looked++
		old := mesh.Before(c.Version, "1.0.8") || !mesh.Before(c.Version, "1.1.0") && mesh.Before(c.Version, "1.1.8")
		if old && !c.Started.IsZero() && c.Started.Before(since) {
			all = append(all, Finding{ID: "injector-old-certificate", Severity: pki.SeverityError, Object: "sidecar-injector " + c.Namespace + "/" + c.Pod, Message: "release " + c.Version + " serves the certificate of its start, which is of before the root changed at " + stamp(since), Hint: "restart it: kubectl -n " + c.Namespace + " delete pod " + c.Pod})
		}
	}
	return all, max(looked, 1)
}
