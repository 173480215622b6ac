package rotation

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshca/kubectl-meshca/internal/plain"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// refuseSource refuses CA sources that this engine cannot write safely.
func (p *Plan) refuseSource(s *mesh.Snapshot, ca mesh.CASource) {
	object := "secret " + ca.Namespace + "/" + ca.Secret
	if ca.Secret == "" {
		object = "the mesh's CA"
	}
	switch ca.Kind {
	case mesh.CAPlugged, mesh.CAPluggedTLS:
	case mesh.CASelfSigned:
		p.refuseAdoption(ca)
	case mesh.CARA:
		p.refuse("kubernetes-signer", object, "certificates come from a Kubernetes signer (EXTERNAL_CA)", "rotate the signer's CA; 'kubectl meshca verify --root' proves the result, with --istiod-root where istiod is under a root of its own")
		return
	case mesh.CAIstioCSR:
		p.refuse("istio-csr", object, "istiod runs no CA (ENABLE_CA_SERVER=false)", "rotate the issuer behind istio-csr; 'kubectl meshca verify --root' proves the result")
		return
	case mesh.CASPIRE:
		p.refuse("spire", object, "proxies get their certificates from SPIRE", "rotate SPIRE's authority; 'kubectl meshca verify --root' proves the result, with --istiod-root where istiod is under a root of its own")
		return
	case mesh.CAUnsupported:
		p.refuse("managed", object, "the control plane is of another cluster, or managed: no istiod can be read", "rotate where its istiod runs, or by the provider's own procedure; 'kubectl meshca verify --root' then proves what is here")
		return
	case mesh.CACitadel:
		p.refuseCitadel(s, ca, object)
	default:
		if ca.Secret == "" {
			p.refuse("ca-unknown", object, "it cannot be told what istiod signs with: "+ca.Why, "give istiod its CA by the Secret cacerts, as the charts mount it; or change it where its files come from: 'kubectl meshca verify --root' proves the result")
			return
		}
		p.refuse("ca-unknown", object, "it cannot be told what istiod signs with: "+orUnread(ca.Error+ca.Why), "ask for a role that may get the Secret "+object)
		return
	}
	if ca.Error != "" {
		p.refuse("ca-unreadable", object, ca.Error, "mend the Secret first: 'kubectl meshca ca lint' names the fault")
	}
	if ca.Immutable {
		p.refuse("immutable-secret", object, "it is immutable", "its owner must replace it with one that can be changed, in a moment when no istiod starts")
	}
	others := byOthers(ca.Owners)
	switch {
	case len(ca.Owners) == 0:
	case len(others) == 0:
		p.refuse("owned-secret", object, "cert-manager writes it, and would put its own CA back", "an intermediate under the same root: 'kubectl meshca cert-manager renew'; another root: 'kubectl meshca cert-manager release', this command, 'kubectl meshca cert-manager return'")
	case p.config.ByOwner && len(others) == len(ca.Owners): // cert-manager, among others too, issues what it likes
		p.Owners = ca.Owners
		p.warn("owned-secret", object, "it is written by "+strings.Join(ca.Owners, ", ")+": each step is to be made there", "begin with the README.md beside the manifests")
	default:
		p.refuse("owned-secret", object, "it is written by "+strings.Join(ca.Owners, ", ")+", which would put the old CA back", "change the source of truth phase by phase instead, by what 'kubectl meshca plan --manifests DIR' writes, or take the Secret out of its hands first")
	}
	if ca.HasKey && !ca.KeyMatches {
		p.refuse("key-mismatch", object, "its key is not that of its certificate", "istiod runs on what it loaded before: restore the right pair first")
	}
}

// refuseAdoption refuses a self-signed pair that cannot be moved to cacerts as it is.
func (p *Plan) refuseAdoption(ca mesh.CASource) {
	object := "secret " + ca.Namespace + "/" + ca.Secret
	if len(ca.Root.Certs) > 1 {
		p.refuse("self-signed-bundle", object, fmt.Sprintf("the self-signed root stands beside %d other roots (a cacerts without a key, or added by hand)", len(ca.Root.Certs)-1),
			"take the others out first: the pair is written as it is")
	}
	if ca.Exists && !ca.HasKey {
		p.refuse("no-key", object, "it holds no key to move to cacerts", "give the mesh a CA of its own by hand, or mend the Secret")
	}
}

// Ambient is the refusal that --untested answers.
const Ambient = "ambient"

// refuseSurroundings refuses meshes that are larger than what can be seen.
func (p *Plan) refuseSurroundings(s *mesh.Snapshot) {
	for _, r := range s.Remotes {
		if p.config.SingleCluster && (r.Kind == "east-west-gateway" || r.Kind == "mesh-networks") {
			continue
		}
		p.refuse("multi-cluster", r.Kind+" "+strings.TrimPrefix(r.Namespace+"/"+r.Name, "/"), "another cluster may share this root, and would be cut off",
			"rotate all clusters in step by hand; --single-cluster says that gateways and networks are this cluster's own")
	}
	p.refuseOldServer(s)
	p.warnNodes(s)
	for _, g := range s.Gaps {
		switch g.Resource {
		case "nodes", "leases", "replicasets", "jobs":
			continue
		}
		hint := "try again when it can be read"
		if g.Verb != "" {
			hint = fmt.Sprintf("ask for a role that may %s %s", g.Verb, g.Resource)
		}
		p.refuse("unreadable", g.Part, g.Error, hint)
	}
	for _, proxy := range s.Proxies {
		if proxy.Kind == mesh.Ztunnel {
			p.refuse(Ambient, "ztunnel "+proxy.Ref(), "this mesh is ambient: rotating one has not been proven on a real ztunnel", "try it on a mesh that may fail first; --untested goes on at your own risk")
			break
		}
	}
	p.refuseLeftOut(s)
	p.refuseOrphans(s)
	p.refuseAsleep(s)
	for _, plane := range s.ControlPlanes {
		if !plane.Settled && !p.config.Resumed && p.config.Strategy != Recover { // with an expired CA no istiod starts
			p.refuse("istiod-rollout", plane.Namespace+"/"+plane.Name, "its rollout is not complete", "wait until 'kubectl rollout status' says so")
		}
	}
}

// refuseOwnServing refuses where istiod serves by a certificate that its CA has not made:
// that one stays under its root when the CA's changes, istiod publishes the roots beside it
// (istio 1.30.3 pilot/pkg/bootstrap/certcontroller.go:233), and agents that trust the new
// root alone would refuse it. Under the same root it is in nobody's way, and no evidence.
func (p *Plan) refuseOwnServing(s *mesh.Snapshot) {
	for _, plane := range s.ControlPlanes {
		if plane.OwnTLS == "" {
			continue
		}
		p.unserved = true
		object := plane.Namespace + "/" + plane.Name
		switch {
		case p.OldRoot.Fingerprint != p.NewRoot.Fingerprint:
			p.refuse("own-serving-certificate", object, "it serves by a certificate that its CA has not made ("+plane.OwnTLS+"), which does not come to the new root with it: agents would refuse istiod", "where it is left from istio-csr, delete it and restart istiod first; else have it issued by the mesh's own CA")
		case !p.config.CSRProof:
			p.refuse("own-serving-certificate", object, "it serves by a certificate that its CA has not made ("+plane.OwnTLS+"): nothing but its answer to a request shows what it signs with", "leave --no-csr-proof out")
		}
	}
}

// refuseOldServer: the lock is a Lease of coordination.k8s.io/v1, which came with
// Kubernetes 1.14; and an API server of before 1.12 knows no dryRun, and keeps what it gets.
func (p *Plan) refuseOldServer(s *mesh.Snapshot) {
	server, ok := mesh.ParseRelease(strings.TrimPrefix(s.Cluster.Version, "v"))
	if ok && server.Major == 1 && server.Minor < 14 {
		p.refuse("old-api-server", "cluster", "its API server is "+s.Cluster.Version+": it has no Lease (Kubernetes 1.14) to keep two operators apart, and before 1.12 a dry run is a write", "upgrade the cluster to 1.14 or later first")
	}
}

// refuseLeftOut refuses to write a CA that an istiod signs with which is not looked at.
func (p *Plan) refuseLeftOut(s *mesh.Snapshot) {
	for _, name := range s.LeftOut {
		if namespace, _, _ := strings.Cut(name, "/"); namespace == p.Namespace {
			p.refuse("revision-left-out", "deployment "+name, "it may sign with the same CA, and --revision leaves it out: nothing would restart it, or prove that it has followed",
				"leave --revision out: all control planes that share a CA rotate together")
		}
	}
}

// refuseOrphans refuses where a webhook would keep the old roots: an istiod writes the
// caBundle of those webhooks alone that are labelled with its own revision (istio 1.30.3
// pkg/webhooks/webhookpatch.go, patchMutatingWebhookConfig).
func (p *Plan) refuseOrphans(s *mesh.Snapshot) {
	for _, w := range Orphans(s) {
		p.refuse("webhook-orphaned", "webhook "+w.Config+"/"+w.Name, fmt.Sprintf("it is of revision %s, of which there is no istiod: nobody writes new roots into it, and the API server would refuse the istiod behind it", w.Revision),
			"delete it, or point it at a revision that runs ('istioctl tag set')")
	}
}

// refuseAsleep refuses where an istiod is scaled to zero, as a revision often is that was
// upgraded from, and something is left of its revision: nobody writes new roots into its
// webhooks, nor signs for its proxies, and no gate behind the first write would open.
func (p *Plan) refuseAsleep(s *mesh.Snapshot) {
	for _, plane := range s.ControlPlanes {
		stoodIn := func(other mesh.ControlPlane) bool { return other.Revision == plane.Revision && awake(other) }
		if awake(plane) || plane.CA.Kind == mesh.CAUnsupported || slices.ContainsFunc(s.ControlPlanes, stoodIn) {
			continue
		}
		webhooks, proxies := 0, 0
		for _, w := range s.Webhooks {
			if w.Revision == plane.Revision && !w.Blank {
				webhooks++
			}
		}
		for _, proxy := range s.Proxies {
			if of, ok := mesh.PlaneOf(proxy, s.ControlPlanes); ok && of.Namespace == plane.Namespace && of.Name == plane.Name {
				proxies++
			}
		}
		if webhooks+proxies > 0 {
			p.refuse("istiod-scaled-to-zero", "deployment "+plane.Namespace+"/"+plane.Name, fmt.Sprintf("no replica of it is to run, and %d webhooks and %d proxies are of its revision %s: nobody writes new roots into these webhooks, or signs for these proxies", webhooks, proxies, plane.Revision),
				"scale it up; or bring its proxies to a revision that runs (namespace label, restart), and delete its webhooks or point them there ('istioctl tag set')")
		}
	}
}

// awake reports whether replicas of an istiod run, or are to.
func awake(plane mesh.ControlPlane) bool { return plane.Desired > 0 || len(plane.Replicas) > 0 }

// known is every istiod.
func known(mesh.ControlPlane) bool { return true }

// Orphans are the webhooks that a revision has left behind which had its roots in them.
func Orphans(s *mesh.Snapshot) (all []mesh.Webhook) {
	for _, w := range s.Webhooks {
		if w.Error == "" && ownerless(s, w, known) {
			all = append(all, w)
		}
	}
	return all
}

// Unwritten are the webhooks that nobody has written a root into: of istiods that are told
// to write into none, or of a revision that was never there: the base chart makes one of
// the revision "default", which istiods of other names never write into (istio 1.31.0-rc.0
// manifests/charts/base/templates/defaultrevision-validatingwebhookconfiguration.yaml).
// Nothing of the mesh's roots is in them, and no change of these makes them worse.
func Unwritten(s *mesh.Snapshot) (all []mesh.Webhook) {
	for _, w := range s.Webhooks {
		if unwritten(s, w) {
			all = append(all, w)
		}
	}
	return all
}

func unwritten(s *mesh.Snapshot, w mesh.Webhook) bool {
	return w.Blank && (w.ByHand != "" || ownerless(s, w, awake))
}

// ownerless reports whether a webhook is of a revision of which there is no istiod that counts.
func ownerless(s *mesh.Snapshot, w mesh.Webhook, counts func(mesh.ControlPlane) bool) bool {
	return w.Revision != "" && !slices.ContainsFunc(s.ControlPlanes, func(plane mesh.ControlPlane) bool {
		return plane.Revision == w.Revision && counts(plane) || plane.Elsewhere != "" // one that cannot be seen writes from where it is
	})
}

// refuseUnrollable refuses a plan that restarts istiods by their Deployments where one
// would not follow.
func (p *Plan) refuseUnrollable(s *mesh.Snapshot) {
	steps := p.Steps
	if p.config.Back {
		steps = p.Back
	}
	if !slices.ContainsFunc(steps, func(step Step) bool { return step.Restart }) {
		return
	}
	for _, plane := range s.ControlPlanes {
		object := plane.Namespace + "/" + plane.Name
		switch {
		case plane.Namespace != p.Namespace:
		case plane.Controller == "Pod":
			p.refuse("istiod-unrollable", "pod "+object, "no controller replaces it, and this strategy restarts istiods", "run istiod by a Deployment, or choose a strategy that restarts none")
		case plane.Controller != "":
			p.refuse("istiod-unrollable", strings.ToLower(plane.Controller)+" "+object, "how a "+plane.Controller+" replaces its pods is not known, and this strategy restarts istiods", "run istiod by a Deployment, or choose a strategy that restarts none")
		case plane.Paused:
			p.refuse("istiod-paused", "deployment "+object, "it is paused (spec.paused), so that no restart begins", "kubectl rollout resume deployment/"+plain.Word(plane.Name)+" -n "+plain.Word(plane.Namespace))
		}
	}
}

// refuseReleases refuses istiods with known faults.
func (p *Plan) refuseReleases(s *mesh.Snapshot) {
	for _, plane := range s.ControlPlanes {
		object := plane.Namespace + "/" + plane.Name
		switch v := plane.Version; {
		case plane.CA.Kind == mesh.CACitadel:
		case v == "":
			p.warn("release-unknown", object, "its release is not known", "each replica proves by its own answers what it signs with and hands out")
		case is(v, "1.24.4"), is(v, "1.25.1"):
			p.refuse("bad-release", object, "istiod "+v+" hands out only the last root of a bundle", "upgrade to 1.24.5, 1.25.2 or later first")
		case strings.HasPrefix(v, "1.27.0-"):
			p.refuse("bad-release", object, "istiod "+v+" ignores a changed intermediate", "upgrade to 1.27.0 or later first")
		case mesh.Before(v, "1.14.2"):
			p.refuse("old-release", object, "istiod "+v+" does not load a changed CA in place", "upgrade to 1.18 or later first")
		}
	}
}

func is(version, release string) bool {
	a, okA := mesh.ParseRelease(version)
	b, okB := mesh.ParseRelease(release)
	return okA && okB && a == b
}

// refuseMaterial refuses a new CA that any judge would not take.
func (p *Plan) refuseMaterial(s *mesh.Snapshot) {
	ca := p.config.New
	if ca == nil {
		return
	}
	old := s.ControlPlanes[0].CA.Authority()
	findings := pki.LintAuthority(ca, s.ClusterTime())
	if old != nil && !(old.Cert.Equal(ca.Cert) && old.Roots.Set().Has(ca.Roots.Certs[0])) {
		findings = append(findings, pki.LintPair(old, ca, s.ClusterTime())...)
	}
	for _, f := range findings {
		switch f.Severity {
		case pki.SeverityError:
			p.refuse(f.ID, f.Subject, f.Message, f.Hint)
		case pki.SeverityWarning:
			p.warn(f.ID, f.Subject, f.Message, f.Hint)
		}
	}
}

// bindsBack reports whether a refusal holds on the way back too: what makes the
// engine's own writes unsafe, or another's.
func bindsBack(id string) bool {
	switch id {
	case "no-istiod", "several-cas", "ca-unreadable", "ca-unknown", "immutable-secret", "owned-secret", "multi-cluster", "revision-left-out", "istiod-paused", "istiod-unrollable", "old-root-ended", "no-way-back", OldCAEnds:
		return true
	}
	return false
}

// refuseBack refuses to go back to a root that would carry nobody, and by a way that is
// not there.
func (p *Plan) refuseBack(s *mesh.Snapshot) {
	if !p.config.Back || p.oldRoot == nil || p.oldRoot.X509 == nil {
		return
	}
	end := p.oldRoot.X509.NotAfter
	if !p.ended.IsZero() {
		end = p.ended
	}
	if !s.ClusterTime().Before(end) {
		p.refuse("old-root-ended", "root "+p.oldRoot.Subject(), "it ended at "+stamp(end)+": going back would cut every proxy off", "go forward: 'kubectl meshca rotate'")
	}
	if p.config.Strategy == Recover {
		p.refuse("no-way-back", p.object(), "recover has no way back: the old CA had ended, or was about to", "go forward: 'kubectl meshca rotate'; from its end, 'kubectl meshca rotate' to another CA")
	}
}

// byOthers are the owners of a Secret other than cert-manager.
func byOthers(owners []string) []string {
	return slices.DeleteFunc(slices.Clone(owners), func(o string) bool { return o == "cert-manager" || strings.HasPrefix(o, "Certificate ") })
}
