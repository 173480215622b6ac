package check

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

func trustRules() []Rule {
	const (
		noRoots = "no bundle of roots to hold it against"
		few     = 16 // beyond this many roots, who needs which is no overview any more
	)
	return []Rule{
		{ID: "roots-known", Category: Trust, About: "the mesh's own roots can be read", Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			if _, ok := rotation.Present(s); !ok {
				all = append(all, Finding{ID: "no-roots", Severity: pki.SeverityError, Object: "mesh", Message: "no bundle of roots could be read: nothing can be compared", Hint: "allow to read the trust ConfigMaps"})
			}
			return all, 1
		}},
		{ID: "istiods-agree", Category: Trust, About: "every istiod signs with the CA", Needs: "the CA's signing certificate is not known: what istiods serve is judged by the roots alone", Reads: istiods(), Run: func(s *mesh.Snapshot, p Policy) ([]Finding, int) {
			all, looked := agree("istiod", func(s *mesh.Snapshot) { s.Namespaces, s.Webhooks, s.Proxies, s.ClusterTrustBundle = nil, nil, nil, nil },
				func(s rotation.Status) int { return s.Replicas.Of })(s, p)
			if !signersKnown(s.ControlPlanes) {
				looked = 0
			}
			return all, looked
		}},
		{ID: "configmaps-agree", Category: Trust, About: "the trust ConfigMaps of all namespaces hold the CA's roots", Needs: noRoots, Reads: []string{"configmaps", "namespaces", "clustertrustbundles"}, Run: agree("configmap", func(s *mesh.Snapshot) {
			s.Webhooks = nil
			if !slices.ContainsFunc(s.ControlPlanes, func(plane mesh.ControlPlane) bool { return plane.CA.Kind == mesh.CAIstioCSR }) {
				s.Proxies = nil // by which it is told who needs istio-csr's
			}
		},
			func(s rotation.Status) int { return s.ConfigMaps.Of })},
		{ID: "webhooks-agree", Category: Trust, About: "all webhooks of istiod hold the CA's roots", Needs: "no webhook that calls an istiod was seen, or no roots to hold it against", Reads: []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations"},
			Run: agree("webhook", func(s *mesh.Snapshot) { s.Proxies = nil }, func(s rotation.Status) int { return s.Webhooks.Of })},
		{ID: "proxies-agree", Category: Trust, About: "every live proxy could be read, has the CA's roots and no others, and a certificate of them", Needs: "no proxy was seen, or no roots to hold it against", Reads: []string{"pods"},
			Run: agree("proxy", func(s *mesh.Snapshot) { s.Webhooks = nil }, func(s rotation.Status) int { return s.Proxies.Of })},
		{ID: "served-chains", Category: Trust, About: "the chain that every istiod serves verifies for agents", Needs: "no chain of an istiod was read, or no roots to hold it against", Reads: istiods(), Run: servedChains},
		{ID: "webhook-owners", Category: Trust, About: "every webhook is of a revision that runs", Needs: "no webhook that calls an istiod was seen", Reads: istiods("mutatingwebhookconfigurations", "validatingwebhookconfigurations"), Run: webhookOwners},
		{ID: "webhook-chains", Category: Trust, About: "the API server accepts istiod behind every webhook", Needs: "no webhook with a service, or no chain of an istiod was read", Reads: istiods("mutatingwebhookconfigurations", "validatingwebhookconfigurations"), Run: webhookChains},
		{ID: "replicas-alike", Category: Trust, About: "all replicas of istiod have the signer of their CA and hand out one set of roots", Needs: "fewer than two replicas of one CA could be compared", Reads: istiods(), Run: replicasAlike},
		{ID: "handshakes", Category: Trust, About: "every class of live proxies accepts every other", Needs: "no proxy was read", Reads: []string{"pods"}, Run: func(s *mesh.Snapshot, p Policy) (all []Finding, looked int) {
			classes := p.classes(s)
			byName := map[string]Class{}
			for _, c := range classes {
				byName[c.Name] = c
			}
			for _, pair := range Matrix(classes, s.TakenAt) {
				if pair.Answer.Result == pki.Accepted {
					continue
				}
				client, server := byName[pair.Client], byName[pair.Server]
				hint := "these proxies do not share a root: complete or take back the change that is under way"
				if pair.Answer.ByCRL {
					hint = byCRL
				}
				all = append(all, Finding{ID: "handshake-" + string(pair.Answer.Result), Severity: pki.SeverityError, proxies: slices.Concat(client.Proxies, server.Proxies),
					Object:  client.describe() + " -> " + server.describe(),
					Message: "the " + pair.By + " would refuse: " + pair.Answer.Reason, Hint: hint})
			}
			return all, len(classes)
		}},
		crlRule(),
		{ID: "mesh-roots", Category: Trust, About: "the extra roots of the mesh config are known", Needs: "no istiod was seen", Reads: istiods("configmaps"), Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			for _, url := range s.MeshCAURLs {
				all = append(all, Finding{ID: "mesh-roots-unknown", Severity: pki.SeverityWarning, Object: "meshConfig.caCertificates", Message: "istiods fetch roots from " + url + ", which nobody looks at here: proxies may trust them besides", Hint: "--mesh-root FILE names them: proxies may have these besides, and no others"})
			}
			return all, len(s.ControlPlanes)
		}},
		{ID: "roots-apart", Category: Trust, About: "no two CAs of the mesh are mistaken for each other", Needs: "no certificate of a CA was read", Run: rootsApart},
		{ID: "roots-needed", Category: Trust, About: "the mesh trusts one root alone", Needs: "no proxy's roots were read", Reads: []string{"pods"}, Run: func(s *mesh.Snapshot, p Policy) (all []Finding, looked int) {
			classes := p.classes(s)
			roots := pki.Set{}
			var order []*pki.Certificate
			for _, c := range classes {
				for _, r := range c.Roots {
					if !roots.Has(r) {
						roots[r.Fingerprint()] = r
						order = append(order, r)
					}
				}
			}
			if len(order) < 2 || len(order) > few {
				return nil, len(order)
			}
			for _, root := range order {
				f := Finding{Severity: pki.SeverityInfo, Object: "root " + root.Subject() + " " + root.Fingerprint().Short()}
				var refs []string
				for _, c := range Needs(classes, root, s.TakenAt) {
					refs = append(refs, c.Proxies...)
				}
				if slices.Sort(refs); len(refs) > 0 {
					f.Message, f.Hint = "without it the certificates of "+crowd(slices.Compact(refs))+" would be refused", "it cannot be dropped yet"
				} else {
					f.Message, f.Hint = "no certificate that was read needs it", "it is there before a rotation's next step, or was left behind by the last"
				}
				all = append(all, f)
			}
			return all, len(order)
		}},
		{ID: "trust-writable", Category: Trust, About: "no trust ConfigMap is immutable", Needs: "no trust ConfigMap was seen", Reads: []string{"configmaps", "namespaces", "clustertrustbundles"}, Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			for _, n := range s.Namespaces {
				if n.Trust == nil || s.Unkept(n) {
					continue
				}
				looked++
				if n.Trust.Immutable {
					all = append(all, Finding{ID: "configmap-immutable", Severity: pki.SeverityWarning, Object: "configmap " + n.Name + "/" + n.Trust.Name, Message: "it is immutable: no new root gets into it", Hint: "delete it: istiod writes it anew"})
				}
			}
			return all, looked
		}},
	}
}

// signersKnown reports whether the certificate of every CA was read that a control plane
// signs with; beside them there may be some that sign nothing themselves.
func signersKnown(planes []mesh.ControlPlane) (known bool) {
	for _, plane := range planes {
		switch {
		case len(plane.CA.Cert.Certs) > 0:
			known = true
		case plane.CA.Kind != mesh.CAIstioCSR && plane.CA.Kind != mesh.CACitadel:
			return false
		}
	}
	return known
}

// agree holds one kind of object against the mesh's own roots; rest leaves out
// of a copy of the Snapshot what that kind does not need.
func agree(kind string, rest func(*mesh.Snapshot), of func(rotation.Status) int) func(*mesh.Snapshot, Policy) ([]Finding, int) {
	return func(s *mesh.Snapshot, p Policy) (all []Finding, looked int) {
		expect, ok := rotation.Present(s)
		if !ok {
			return nil, 0
		}
		expect.CSRProof = p.CSRProof
		part := *s
		part.Gaps = nil // a rule of their own
		rest(&part)
		status := expect.Judge(&part, nil)
		for _, b := range status.Blockers {
			if b.Kind != kind {
				continue
			}
			f := Finding{ID: b.Kind, Severity: pki.SeverityError, Object: b.Kind + " " + b.Object, Message: b.Why, Hint: hintOf(b)}
			if b.Unknown {
				f.ID += "-unknown"
			}
			if own, is := ownServing(s, b); is && !p.CSRProof {
				f.ID, f.Severity, f.Hint = "own-serving-certificate", pki.SeverityWarning, "'kubectl meshca check --csr-proof' tells what it signs with; where "+own+" is left from istio-csr, delete it and restart istiod"
			}
			if kind == "proxy" {
				f.proxies = []string{b.Object}
			}
			all = append(all, f)
		}
		return all, of(status)
	}
}

// byCRL is what helps where a CRL refuses.
const byCRL = "ca-crl.pem of the CA Secret must hold a CRL of every issuer of a chain, the root too, and none that has ended; or take it out, and restart istiod, which never gives it up while it runs"

func hintOf(b rotation.Blocker) string {
	switch b.Kind {
	case "istiod":
		if b.Unknown {
			return "what it signs with is not proven: is the pod healthy, and may it be port-forwarded to?"
		}
		return "its memory differs from its files: look at its log, restart it when the new state is safe to load"
	case "configmap":
		return "istiod, or istio-csr, writes it; one that is immutable, or of a namespace istiod does not serve, stays as it is"
	case "webhook":
		return "istiod patches it within a minute; another revision's istiod, or nobody, may own it"
	case "proxy":
		if b.ByCRL {
			return byCRL
		}
		if b.Unknown {
			return "what cannot be read is not proven: is the pod healthy, and may it be port-forwarded to?"
		}
		return "it follows with its next certificate, or when its pod is restarted"
	}
	return ""
}

// servedChains asks what an agent would say to each istiod: agents are Go
// programs.
func servedChains(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
	expect, ok := rotation.Present(s)
	if !ok {
		return nil, 0
	}
	for _, plane := range s.ControlPlanes {
		for _, r := range plane.Replicas {
			if r.Served == nil || len(r.Served.Chain) == 0 {
				continue // the rule on istiods names it
			}
			looked++
			if answer := served(s, r, expect.Roots, plane.ServerNames()); answer.Result != pki.Accepted {
				all = append(all, Finding{ID: "served-" + string(answer.Result), Severity: pki.SeverityError, Object: "istiod " + plane.Namespace + "/" + r.Pod, Message: "agents would refuse the chain it serves: " + answer.Reason, Hint: "agents that reconnect get no configuration and no certificates: restart it, or bring back the root that vouches for it"})
			}
		}
	}
	return all, looked
}

// served judges a replica's chain for the best of several names.
func served(s *mesh.Snapshot, r mesh.Istiod, roots []*pki.Certificate, names []string) pki.Answer {
	answer := pki.Answer{Result: pki.Refused, Reason: "it has no name"}
	for _, name := range names {
		if answer = pki.Verify(pki.Question{Judge: pki.Go, Roots: roots, Chain: r.Served.Chain, At: s.TakenAt, Usage: pki.ServerAuth, DNS: name}); answer.Result == pki.Accepted {
			break
		}
	}
	return answer
}

// webhookOwners names webhooks that no istiod writes into any more: they go on until the
// root changes, and not after.
func webhookOwners(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
	for _, w := range rotation.Orphans(s) {
		all = append(all, Finding{ID: "webhook-orphaned", Severity: pki.SeverityWarning, Object: "webhook " + w.Config + "/" + w.Name, Message: fmt.Sprintf("it is of revision %s, of which there is no istiod: nobody writes its caBundle when the root changes", w.Revision),
			Hint: "delete it, or point it at a revision that runs ('istioctl tag set')"})
	}
	for _, w := range s.Webhooks {
		if w.ByHand != "" && !w.Blank {
			all = append(all, Finding{ID: "webhook-by-hand", Severity: pki.SeverityWarning, Object: "webhook " + w.Config + "/" + w.Name, Message: fmt.Sprintf("no istiod writes its caBundle (%s): when the root changes somebody else has to, and a rotation waits for it at every step", w.ByHand),
				Hint: "have whatever writes it follow the ConfigMap of the trusted roots, or let istiod write it: take the setting out of its env, or give the configuration the label istio.io/rev of its revision"})
		}
	}
	for _, w := range rotation.Unwritten(s) {
		if w.ByHand != "" {
			continue // nobody's root is in it, and none is to be
		}
		f := Finding{ID: "webhook-unwritten", Severity: pki.SeverityWarning, Object: "webhook " + w.Config + "/" + w.Name, Message: fmt.Sprintf("it is of revision %s, of which there is no istiod, and has no caBundle: what it is to check passes unchecked. No root is in it, so that it is in no rotation's way", w.Revision),
			Hint: "point it at a revision that runs ('istioctl tag set default --revision REVISION', or defaultRevision of the chart istio-base), or delete it"}
		if w.Fatal {
			f.Message = fmt.Sprintf("it is of revision %s, of which there is no istiod, and has no caBundle: what it is to check is rejected (failurePolicy Fail). No root is in it, so that it is in no rotation's way", w.Revision)
		}
		all = append(all, f)
	}
	return all, len(s.Webhooks)
}

// webhookChains asks what the API server would say to the istiods behind each
// webhook: a stale caBundle or serving certificate stops injection.
func webhookChains(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
	for _, w := range s.Webhooks {
		namespace, service, ok := strings.Cut(w.Service, "/")
		if !ok || w.Error != "" {
			continue // a webhook by URL; one that cannot be parsed is named elsewhere
		}
		for _, plane := range behind(s.ControlPlanes, namespace, service) {
			for _, r := range plane.Replicas {
				if r.Served == nil || len(r.Served.Chain) == 0 {
					continue
				}
				looked++
				answer := served(s, r, w.CABundle.Certs, []string{service + "." + namespace + ".svc"})
				if answer.Result == pki.Accepted {
					continue
				}
				f := Finding{ID: "webhook-chain-" + string(answer.Result), Severity: pki.SeverityWarning, Object: "webhook " + w.Config + "/" + w.Name, Message: fmt.Sprintf("the API server would refuse istiod %s/%s: %s", plane.Namespace, r.Pod, answer.Reason), Hint: "istiod patches the caBundle within a minute; if it does not, restart it"}
				if w.ByHand != "" {
					f.Hint = "no istiod patches it (" + w.ByHand + "): write the roots of the trust ConfigMap into its caBundle"
				}
				if w.Fatal {
					f.Severity, f.Hint = pki.SeverityError, "what it must let pass is rejected meanwhile (failurePolicy Fail): "+f.Hint
				}
				all = append(all, f)
			}
		}
	}
	return all, looked
}

// behind are the control planes that a service leads to: that of its name, or
// all of its namespace, where a tag's service has another name.
func behind(planes []mesh.ControlPlane, namespace, service string) []mesh.ControlPlane {
	var named, local []mesh.ControlPlane
	for _, plane := range planes {
		if plane.Namespace != namespace {
			continue
		}
		local = append(local, plane)
		if plane.Name == service {
			named = append(named, plane)
		}
	}
	if named != nil {
		return named
	}
	return local
}

// replicasAlike compares replicas of one CA, of all revisions, with each other, which needs
// no Secret; and what all replicas hand out, for they hand it out to one mesh.
func replicasAlike(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
	signers, roots := map[string]map[digest][]string{}, map[digest][]string{}
	names, count := map[digest]string{}, 0
	expect, _ := rotation.Present(s)
	for _, plane := range s.ControlPlanes {
		for _, r := range plane.Replicas {
			object := plane.Namespace + "/" + r.Pod
			if r.Signed != nil && len(r.Signed.Roots) > 0 {
				k := setKey(r.Signed.Roots)
				roots[k] = append(roots[k], object)
			}
			leaf, behind := evidence(plane, r)
			if leaf == nil || leaf.X509 == nil {
				continue
			}
			id := leaf.X509.AuthorityKeyId
			if len(id) == 0 { // only the signature tells two CAs of one name apart
				f := signerOf(leaf, slices.Concat(behind, plane.CA.Cert.Certs, expect.Roots))
				id = f[:]
			}
			k := sha256.Sum256(slices.Concat(leaf.X509.RawIssuer, []byte{0}, id))
			of := source(plane)
			if signers[of] == nil {
				signers[of] = map[digest][]string{}
			}
			signers[of][k], names[k] = append(signers[of][k], object), issuer(leaf)
		}
	}
	for _, of := range slices.Sorted(maps.Keys(signers)) {
		var parts []string
		alike := 0
		for k, pods := range signers[of] {
			slices.Sort(pods)
			alike += len(pods)
			parts = append(parts, strings.Join(pods, ", ")+" with "+names[k])
		}
		if alike > 1 {
			count += alike
		}
		if len(parts) < 2 {
			continue
		}
		slices.Sort(parts)
		all = append(all, Finding{ID: "replicas-sign-apart", Severity: pki.SeverityError, Object: "istiod", Message: "replicas sign with different keys: " + strings.Join(parts, "; "), Hint: "one of them has not loaded the CA that the others have: look at their logs"})
	}
	if len(roots) > 1 {
		var parts []string
		for _, pods := range roots {
			slices.Sort(pods)
			parts = append(parts, strings.Join(pods, ", "))
		}
		slices.Sort(parts)
		all = append(all, Finding{ID: "replicas-trust-apart", Severity: pki.SeverityError, Object: "istiod", Message: "replicas hand out different roots: " + strings.Join(parts, " and "), Hint: "one of them has not loaded the bundle that the others have: look at their logs"})
	}
	return all, count
}

// source names what a control plane's CA is made from: replicas of one source sign alike.
func source(plane mesh.ControlPlane) string {
	if plane.CA.Secret != "" {
		return "secret " + plane.CA.Namespace + "/" + plane.CA.Secret
	}
	return string(plane.CA.Kind) + " " + plane.Namespace
}

func setKey(certs []*pki.Certificate) digest {
	var prints []string
	for _, c := range certs {
		prints = append(prints, c.Fingerprint().String())
	}
	slices.Sort(prints)
	return sha256.Sum256([]byte(strings.Join(slices.Compact(prints), " ")))
}

// rootsApart holds every CA certificate of the mesh against every other: of two
// of one name some peers pick the wrong one.
func rootsApart(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
	const most = 100
	seen := pki.Set{}
	gather := func(into *[]*pki.Certificate, lists ...[]*pki.Certificate) {
		for _, c := range slices.Concat(lists...) {
			if !seen.Has(c) {
				seen[c.Fingerprint()] = c
				*into = append(*into, c)
			}
		}
	}
	// Roots first: where one of a pair is trusted, every peer meets both.
	var roots, presented []*pki.Certificate
	gather(&roots, s.MeshCACertificates)
	for _, plane := range s.ControlPlanes {
		gather(&roots, plane.CA.Root.Certs)
	}
	for _, n := range s.Namespaces {
		if n.Trust != nil {
			gather(&roots, n.Trust.Bundle.Certs)
		}
	}
	for _, p := range s.Proxies {
		if p.Loaded != nil {
			for _, i := range p.Loaded.Identities {
				gather(&roots, i.Roots)
			}
		}
	}
	for _, plane := range s.ControlPlanes {
		gather(&presented, plane.CA.Cert.Certs, plane.CA.Chain.Certs)
	}
	for _, p := range s.Proxies {
		if p.Loaded != nil {
			for _, i := range p.Loaded.Identities {
				gather(&presented, i.Chain[min(1, len(i.Chain)):])
			}
		}
	}
	if len(roots) == 0 {
		return nil, 0
	}
	if len(seen) > most {
		return []Finding{{ID: "many-cas", Severity: pki.SeverityWarning, Object: "mesh", Message: fmt.Sprintf("it holds %d certificates of CAs: they were not compared with each other", len(seen)), Hint: "which of them are still needed?"}}, len(seen)
	}
	type twin struct{ id, subject string }
	said := map[twin]bool{}
	whole := &pki.Authority{Cert: roots[0], Chain: presented, Roots: pki.NewBundle(roots...)}
	for _, f := range pki.LintPair(whole, whole, s.TakenAt) {
		switch f.ID {
		case "same-name", "same-name-no-ids", "same-key", "same-key-other-ski", "same-key-aki-serial":
		default:
			continue // about an old and a new CA, which these are not
		}
		if k := (twin{f.ID, f.Subject}); !said[k] {
			said[k] = true
			all = append(all, Finding{ID: "cas-" + f.ID, Severity: f.Severity, Object: "CA " + f.Subject, Message: f.Message, Hint: f.Hint})
		}
	}
	return all, len(seen)
}
