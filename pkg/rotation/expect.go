package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

// Expectation is what must be true of a mesh for a gate to open. Its zero parts
// ask for nothing.
type Expectation struct {
	// Roots is the bundle that istiods serve below, hand out and publish; of Besides it may
	// hold some too, or all. Trusted and Accepted are workloads' own: others than Roots only
	// while roots change, or where workloads' certificates are signed elsewhere.
	Roots, Besides []*pki.Certificate
	// Signer is the certificate whose key signs leaves, Behind what every answer
	// must carry after the leaf: the signer itself and its chain.
	Signer *pki.Certificate
	Behind []*pki.Certificate
	// Own asks of each replica, instead of Signer, the signing certificate of its own
	// control plane's CA as it was read: revisions may have one each under one root. Where
	// none was read, and where that CA has other roots than Roots, Roots must vouch for it.
	// A control plane that is not in this cluster is asked for none.
	Own bool
	// Trusted must be among the roots of every proxy; with Only no others may be,
	// but those of meshConfig.caCertificates.
	Trusted []*pki.Certificate
	Only    bool
	// Gone are roots of which it is known that nobody may have them any more.
	Gone []*pki.Certificate
	// Leaves asks that every proxy's certificate be signed by Signer.
	Leaves bool
	// Accepted asks that every live leaf be accepted by a peer that trusts this, and InForce
	// the same of one that trusts what is trusted now, where that is something else: a leaf
	// may have come without the certificate that vouches for it there.
	Accepted, InForce []*pki.Certificate
	// CSRProof asks for each replica's own answer; without it the chain it serves
	// is the next best evidence.
	CSRProof bool

	// Citadel asks a Citadel's Secrets, by DER, instead of what istiods answer and
	// publish, and Envoys by /certs.
	Citadel bool

	// former are the UIDs of istiods that may run no more: those of before a restart. No
	// time tells them, for a container's start is stamped by the clock of its node.
	former []string
	// fresh asks that the pod of every stale agent was made after freshSince, and files the
	// same of every agent that writes its certificate for others to read; both are of
	// the API server's clock.
	fresh, files bool
	freshSince   time.Time
	// nodes asks that nodes can be listed, for they could be when it was planned.
	nodes bool
	// unserved: some istiod has a serving certificate that its CA has not made, so that what
	// is served is no evidence of what signs.
	unserved bool
	// unpublished leaves out what others than the replicas themselves write.
	unpublished bool
	// crls is what CRLs have to do with it.
	crls crlRule
}

// crlRule is what an expectation asks of the CRLs that proxies judge by.
type crlRule int

const (
	// crlsJudge: a leaf must be accepted by those who have CRLs too.
	crlsJudge crlRule = iota
	// crlsNone: nobody may have any, for they would refuse the CA that comes next.
	crlsNone
	// crlsPass: on the way back they are no reason to stay where one is.
	crlsPass
)

// Blocker is one object that keeps a gate closed.
type Blocker struct {
	// Kind is istiod, configmap, webhook, proxy, vm or reading.
	Kind string `json:"kind"`
	// Object is its name: namespace/name, or a name alone.
	Object string `json:"object"`
	Why    string `json:"why"`
	// Unknown is true where it could not be seen: never yes, and never proven bad.
	Unknown bool `json:"unknown,omitempty"`

	// unread: nothing was read of it, for whatever reason.
	unread bool
	// list: it was not read to its end, so that whoever is missing in it is not named.
	list bool
	// ByCRL: a CRL is the reason, or what is not known of one.
	ByCRL bool `json:"-"`
}

func (b Blocker) String() string { return b.Kind + " " + b.Object + ": " + b.Why }

// Acceptable reports whether an operator may take it upon himself: something unknown of one
// object that has a name. A list that could not be read, and what stands for all of a kind,
// may hide anybody.
func (b Blocker) Acceptable() bool { return b.Unknown && !b.list && named(b.Object) }

// named reports whether this is the name of one object, and not of all of a kind.
func named(object string) bool { return strings.Contains(object, "/") }

// accepted says that an operator lets it pass: what is unknown, by name.
func (b Blocker) accepted(accept map[string]string) bool {
	_, is := accept[b.Object]
	return is && b.Acceptable()
}

// Progress is one namespace's part of a gate.
type Progress struct {
	Namespace  string `json:"namespace"`
	Proxies    int    `json:"proxies"`
	Ready      int    `json:"ready"`
	Unreadable int    `json:"unreadable,omitempty"`
}

// Status is a gate at one moment.
type Status struct {
	At         time.Time  `json:"at"`
	Blockers   []Blocker  `json:"blockers,omitempty"`
	Namespaces []Progress `json:"namespaces,omitempty"`
	Replicas   Count      `json:"replicas"`
	ConfigMaps Count      `json:"configMaps"`
	Webhooks   Count      `json:"webhooks"`
	Proxies    Count      `json:"proxies"`
	// Listed is true where proxies were counted and nothing was asked of what they have
	// loaded: they are no part of the proof.
	Listed bool `json:"proxiesListedOnly,omitempty"`
	// Secrets are a Citadel's, of every namespace.
	Secrets Count `json:"secrets,omitzero"`
	// Evidence names what the verdict on the replicas rests on.
	Evidence string `json:"evidence,omitempty"`
	// Accepted are the blockers that the operator has accepted by name.
	Accepted []Blocker `json:"accepted,omitempty"`
}

// Count says how many of how many.
type Count struct {
	Ready int `json:"ready"`
	Of    int `json:"of"`
}

func (c *Count) add(ready bool) {
	c.Of++
	if ready {
		c.Ready++
	}
}

// Open reports whether nothing stands in the way.
func (s Status) Open() bool { return len(s.Blockers) == 0 }

// Judge holds a Snapshot against the expectation. Whatever is unknown, or
// missing, is a blocker; accept names the objects whose being unknown the
// operator has taken upon himself.
func (e Expectation) Judge(s *mesh.Snapshot, accept map[string]string) Status {
	return e.judge(s, accept, pki.NewMemo())
}

func (e Expectation) judge(s *mesh.Snapshot, accept map[string]string, memo *pki.Memo) Status {
	j := judgement{e: e, s: s, memo: memo, domains: mesh.Domains(s.Proxies), status: Status{At: s.TakenAt, Listed: !e.asksProxies()},
		roots: pki.NewSet(e.Roots...), spare: pki.NewSet(slices.Concat(e.Roots, e.Besides)...), trusted: pki.NewSet(e.Trusted...), allowed: pki.NewSet(slices.Concat(e.Trusted, s.MeshCACertificates)...)}
	if e.Accepted != nil && e.crls == crlsJudge {
		j.revocations = revocations(s)
	}
	j.gaps()
	j.replicas()
	j.published()
	j.secrets()
	j.proxies()
	j.status.Blockers = slices.DeleteFunc(j.status.Blockers, func(b Blocker) bool {
		if b.accepted(accept) {
			j.status.Accepted = append(j.status.Accepted, b)
			return true
		}
		return false
	})
	return j.status
}

type judgement struct {
	e      Expectation
	s      *mesh.Snapshot
	status Status
	// The expectation's lists as sets, made once and not for every proxy; spare are its
	// roots and what may be there besides.
	roots, spare, trusted, allowed pki.Set
	memo                           *pki.Memo // of what is known of CAs, and of signatures
	domains                        []string  // those of the leaves, where anybody judges by them
	// revocations are the CRLs of live proxies, byCRL is true where one is the reason.
	revocations []revocation
	byCRL       bool
}

func (j *judgement) block(kind, object, why string) {
	j.status.Blockers = append(j.status.Blockers, Blocker{Kind: kind, Object: object, Why: why})
}

func (j *judgement) unknown(kind, object, why string) {
	j.status.Blockers = append(j.status.Blockers, Blocker{Kind: kind, Object: object, Why: why, Unknown: true})
}

// gaps closes the gate on every part that could not be read and that the
// expectation needs. Who owns a pod it does not need.
func (j *judgement) gaps() {
	for _, g := range j.s.Gaps {
		switch g.Resource {
		case "leases", "replicasets", "jobs", "secrets", "services", "workloadentries":
			continue // the plan has judged these
		case "nodes":
			if g.Verb != "" && !j.e.nodes {
				continue // nobody may see them: the plan has said so
			}
		}
		j.gap(g)
	}
}

func (j *judgement) gap(g mesh.Gap) {
	j.status.Blockers = append(j.status.Blockers, Blocker{Kind: "reading", Object: g.Part, Why: g.Error, Unknown: true, list: g.Incomplete})
}

func (j *judgement) replicas() {
	var evidence []string
	for _, plane := range j.s.ControlPlanes {
		if len(plane.Replicas) == 0 && plane.Desired > 0 {
			j.unknown("istiod", plane.Namespace+"/"+plane.Name, fmt.Sprintf("none of its %d replicas is there", plane.Desired))
		}
		if !plane.Settled {
			j.block("istiod", plane.Namespace+"/"+plane.Name, "its rollout is not complete")
		}
		for _, replica := range plane.Replicas {
			judge := j.replica
			if plane.CA.Kind == mesh.CACitadel {
				judge = j.citadelReplica
			}
			why, unknown, by := judge(plane, replica)
			j.status.Replicas.add(why == "")
			if why != "" {
				j.status.Blockers = append(j.status.Blockers, Blocker{Kind: "istiod", Object: plane.Namespace + "/" + replica.Pod, Why: why, Unknown: unknown})
			}
			if by != "" && !slices.Contains(evidence, by) {
				evidence = append(evidence, by)
			}
		}
	}
	if j.status.Replicas.Of == 0 && j.elsewhere() {
		evidence = []string{"of another cluster, not asked"}
	} else if j.status.Replicas.Of == 0 {
		j.unknown("istiod", "none", "no replica of istiod was seen")
	}
	slices.Sort(evidence)
	j.status.Evidence = strings.Join(evidence, ", ")
}

// elsewhere reports whether every istiod is of another cluster, and none is asked for here.
func (j *judgement) elsewhere() bool {
	here := func(plane mesh.ControlPlane) bool { return plane.Elsewhere == "" }
	return j.e.Own && len(j.s.ControlPlanes) > 0 && !slices.ContainsFunc(j.s.ControlPlanes, here)
}

// signer is what a control plane's replicas must sign with, nil where the roots alone are
// to vouch for them; doubted is true where they are to besides.
func (j *judgement) signer(plane mesh.ControlPlane) (signer *pki.Certificate, doubted bool) {
	if !j.e.Own {
		return j.e.Signer, false
	}
	if len(plane.CA.Cert.Certs) == 0 {
		return nil, false
	}
	return plane.CA.Cert.Certs[0], !j.asked(plane.CA.Root.Certs)
}

// ownServing says by what a control plane serves a certificate that the CA it signs with has
// not made, "" where it does not. One that signs nothing for workloads is judged by the roots.
func (j *judgement) ownServing(plane mesh.ControlPlane) string {
	switch {
	case plane.CA.Kind == mesh.CAIstioCSR, plane.CA.Kind == mesh.CARA, plane.CA.Kind == mesh.CASPIRE:
		return ""
	case j.e.unserved:
		return cmp.Or(plane.OwnTLS, "files of its own")
	}
	return plane.OwnTLS
}

// replica judges one istiod by the strongest evidence there is.
func (j *judgement) replica(plane mesh.ControlPlane, r mesh.Istiod) (why string, unknown bool, evidence string) {
	if slices.Contains(j.e.former, r.UID) {
		return "it has run since before this step: it is not restarted yet", false, ""
	}
	var chain []*pki.Certificate
	var at string
	signer, doubted := j.signer(plane)
	own := j.ownServing(plane)
	switch {
	case plane.CA.Kind == mesh.CAIstioCSR && r.Served != nil:
		// No request can be answered (istio 1.30.3 pilot/pkg/bootstrap/server.go:1252).
		chain, at = r.Served.Chain, "chain served on 15012 by an istiod that signs nothing"
	case r.Signed != nil:
		chain, at = r.Signed.Chain, "answer to a certificate request"
	case own != "" && r.Served != nil && len(r.Served.Chain) > 0 && j.vouched(plane, r, r.Served.Chain).Result == pki.Refused:
		return "agents would refuse the certificate that it serves and its CA has not made (" + own + "): " + j.vouched(plane, r, r.Served.Chain).Reason, false, ""
	case j.e.CSRProof && r.Served != nil && r.ProofForbidden && own == "":
		// The next best evidence, named.
		chain, at = r.Served.Chain, "chain served on 15012, for no request may be made"
	case j.e.CSRProof && r.ProofRefused && own == "":
		return "it does not take the token of a request for what it signs with (" + r.SignedError + "): if that stays, --no-csr-proof has the chain that it serves be the evidence", true, ""
	case j.e.CSRProof:
		return "no proof of what it signs with: " + orUnread(r.SignedError), true, ""
	case r.Served != nil && own != "":
		return "its CA has not made the certificate that it serves (" + own + "), which says nothing of what it signs with: its answer to a certificate request alone does", true, ""
	case r.Served != nil:
		chain, at = r.Served.Chain, "chain served on 15012"
	default:
		return "the chain it serves cannot be read: " + orUnread(r.ServedError), true, ""
	}
	if len(chain) == 0 {
		return "its " + at + " is empty", true, at
	}
	if signer != nil {
		if !chain[0].SignedBy(signer) {
			return fmt.Sprintf("it still signs with %s, not with %s", issuer(chain[0]), signer.Subject()), false, at
		}
		if before := signer.Before(chain[1:]); before != nil {
			return "it still sends " + former(before, signer), false, at
		}
		// What follows the leaf is the file as istiod has it in memory, and in the
		// layout of kubernetes.io/tls the roots behind it (istio 1.30.3
		// pilot/pkg/bootstrap/istio_ca.go:238), which change nothing for a peer.
		if r.Signed != nil && j.e.Behind != nil && !sameCerts(without(chain[1:], r.Signed.Roots), without(j.e.Behind, r.Signed.Roots)) {
			return "it does not send the chain of this phase with its leaves yet", false, at
		}
	}
	if signer == nil || doubted {
		if answer := j.vouched(plane, r, chain); answer.Result != pki.Accepted {
			return fmt.Sprintf("its %s, of %s, does not come from the roots that are asked for: %s", at, issuer(chain[0]), answer.Reason), answer.Result == pki.Depends, at
		}
	}
	if j.answersForOthers(plane, r) {
		if have := pki.NewSet(slices.Concat(r.Signed.Roots, j.s.MeshCACertificates)...); j.e.Trusted != nil && !(have.Contains(j.trusted) && j.allowed.Contains(pki.NewSet(r.Signed.Roots...))) {
			return fmt.Sprintf("it hands out other roots than workloads trust (%s)", difference(r.Signed.Roots, j.e.Trusted)), false, at
		}
		return "", false, at
	}
	if r.Signed != nil && j.e.Roots != nil && !j.asked(r.Signed.Roots) {
		return fmt.Sprintf("it hands out other roots (%s)", j.off(r.Signed.Roots)), false, at
	}
	return "", false, at
}

// vouched asks, where nobody knows the signer by name, whether the roots vouch for what an
// istiod shows: by Go's rules, as an agent does that connects to it.
func (j *judgement) vouched(plane mesh.ControlPlane, r mesh.Istiod, chain []*pki.Certificate) pki.Answer {
	if j.e.Roots == nil {
		return pki.Answer{Result: pki.Accepted} // nothing is asked
	}
	roots, usage := slices.Concat(j.e.Roots, j.e.Besides), pki.ServerAuth
	if j.answersForOthers(plane, r) && j.e.Accepted != nil {
		roots = j.e.Accepted
	}
	if r.Signed != nil {
		usage = pki.ClientAuth
	}
	// What was signed for this very question may be younger than the look that asked it:
	// not every signer dates back as istiod does (cert-manager and its istio-csr do not).
	at := j.s.ClusterTime()
	if leaf := chain[0].X509; leaf != nil && leaf.NotBefore.After(at) {
		at = leaf.NotBefore
	}
	return j.memo.Verify(pki.Question{Judge: pki.Go, Roots: roots, Chain: chain, At: at, Usage: usage})
}

// answersForOthers reports whether a replica has passed a request on to a Kubernetes signer:
// what it answers is the workloads', and none of its own (istio 1.30.3
// security/pkg/server/ca/server.go:111, pilot/pkg/bootstrap/server.go:1306).
func (j *judgement) answersForOthers(plane mesh.ControlPlane, r mesh.Istiod) bool {
	return plane.CA.Kind == mesh.CARA && r.Signed != nil
}

// asked says that a bundle is the one that is asked for.
func (j *judgement) asked(bundle []*pki.Certificate) bool {
	have := pki.NewSet(bundle...)
	return have.Contains(j.roots) && j.spare.Contains(have)
}

// off says in what a bundle is not.
func (j *judgement) off(bundle []*pki.Certificate) string {
	return difference(without(bundle, without(j.e.Besides, j.e.Roots)), j.e.Roots)
}

func orUnread(reason string) string {
	if reason == "" {
		return "it was not asked"
	}
	return reason
}

// published judges what agents, API server and new pods read: the ConfigMap of
// every namespace (or the ClusterTrustBundle) and the webhooks.
func (j *judgement) published() {
	if j.e.Roots == nil || j.e.unpublished || j.e.Citadel && !j.istiods() {
		return
	}
	if bundle := j.s.ClusterTrustBundle; bundle != nil {
		j.anchor("", bundle)
	} else {
		some := j.publishedInSome()
		for _, n := range j.s.Namespaces {
			switch {
			case j.s.Unkept(n):
			case n.Trust != nil:
				j.anchor(n.Name+"/", n.Trust)
			case mesh.Ignored(n.Name) || some && !j.s.TakesPart(n):
			default:
				j.status.ConfigMaps.add(false)
				j.unknown("configmap", n.Name+"/"+j.configMap(), "there is none in this namespace")
			}
		}
	}
	if j.status.ConfigMaps.Of == 0 {
		j.unknown("configmap", j.configMap(), "no trust ConfigMap was seen in any namespace")
	}
	for _, w := range j.s.Webhooks {
		if unwritten(j.s, w) {
			continue
		}
		object := w.Config + "/" + w.Name
		ok := w.Error == "" && j.asked(w.CABundle.Certs)
		j.status.Webhooks.add(ok)
		switch {
		case w.Error != "":
			j.unknown("webhook", object, w.Error)
		case !ok && w.ByHand != "":
			j.block("webhook", object, fmt.Sprintf("its caBundle holds other roots (%s), and no istiod writes it (%s): whoever does has to write the roots of the trust ConfigMap there", j.off(w.CABundle.Certs), w.ByHand))
		case !ok:
			j.block("webhook", object, fmt.Sprintf("its caBundle holds other roots (%s)", j.off(w.CABundle.Certs)))
		}
	}
}

// istiods reports whether any control plane is one: beside them a Citadel may be left of
// the time before.
func (j *judgement) istiods() bool {
	return slices.ContainsFunc(j.s.ControlPlanes, func(plane mesh.ControlPlane) bool { return plane.CA.Kind != mesh.CACitadel })
}

func (j *judgement) anchor(prefix string, anchor *mesh.TrustAnchor) {
	object := prefix + anchor.Name
	ok := anchor.Error == "" && j.asked(anchor.Bundle.Certs)
	j.status.ConfigMaps.add(ok)
	switch {
	case anchor.Error != "":
		j.unknown("configmap", object, anchor.Error)
	case !ok && anchor.Immutable:
		j.block("configmap", object, fmt.Sprintf("it is immutable and holds other roots (%s): delete it, istiod writes it anew", j.off(anchor.Bundle.Certs)))
	case !ok:
		j.block("configmap", object, fmt.Sprintf("it holds other roots (%s)", j.off(anchor.Bundle.Certs)))
	}
}

// publishedInSome reports whether nobody writes trust ConfigMaps into all namespaces here:
// istiods that serve some alone, and an istio-csr, which may be told which to serve
// (configmapNamespaceSelector of its chart). Any other istiod with a CA writes into all.
func (j *judgement) publishedInSome() bool {
	writes := func(plane mesh.ControlPlane) bool {
		return plane.CA.Kind != mesh.CAIstioCSR && !plane.Flags.SomeNamespaces
	}
	return len(j.s.ControlPlanes) > 0 && !slices.ContainsFunc(j.s.ControlPlanes, writes)
}

// configMap is the name of the trust ConfigMap, by the flag of the first istiod.
func (j *judgement) configMap() string {
	for _, plane := range j.s.ControlPlanes {
		if plane.Flags.TrustConfigMap != "" {
			return plane.Flags.TrustConfigMap
		}
	}
	return mesh.DefaultTrustConfigMap
}

func (j *judgement) proxies() {
	index := map[string]int{}
	silent := j.silent()
	for _, p := range j.s.Proxies {
		i, ok := index[p.Namespace]
		if !ok {
			i = len(j.status.Namespaces)
			index[p.Namespace] = i
			j.status.Namespaces = append(j.status.Namespaces, Progress{Namespace: p.Namespace})
		}
		progress := &j.status.Namespaces[i]
		progress.Proxies++
		j.byCRL = false
		why, unknown := j.proxy(p)
		if on, ok := silent[p.Ref()]; ok && (why == "" || unknown) {
			why, unknown = strings.TrimSuffix(fmt.Sprintf("node %s: %s; %s", on.Node, on.Why, why), "; "), true
		}
		blockers := len(j.status.Blockers)
		switch {
		case unknown:
			progress.Unreadable++
			j.status.Proxies.add(false)
			_, silent := silent[p.Ref()]
			j.status.Blockers = append(j.status.Blockers, Blocker{Kind: "proxy", Object: p.Ref(), Why: why, Unknown: true, unread: silent || p.Loaded == nil})
		case why != "":
			j.status.Proxies.add(false)
			j.block("proxy", p.Ref(), why)
		default:
			progress.Ready++
			j.status.Proxies.add(true)
		}
		for i := range j.status.Blockers[blockers:] {
			j.status.Blockers[blockers+i].ByCRL = j.byCRL
		}
	}
	for _, vm := range j.s.VMs {
		if j.e.asksProxies() {
			why := vm.Unexplained() + "what a virtual machine has loaded cannot be read from here"
			if vm.Unregistered {
				why += "; look again, if it was a pod that has just gone"
			}
			j.unknown("vm", vm.Namespace+"/"+vm.Name, why)
		}
	}
	slices.SortFunc(j.status.Namespaces, func(a, b Progress) int { return strings.Compare(a.Namespace, b.Namespace) })
}

// proxy judges one proxy: "" where it is as expected.
func (j *judgement) proxy(p mesh.Proxy) (why string, unknown bool) {
	if !j.e.asksProxies() || p.Idle() {
		// What has not started takes what istiods, proven before, hand out; what has quit takes nothing.
		return "", false
	}
	if p.Loaded == nil {
		return "unreadable: " + orUnread(p.Error), true
	}
	if j.e.Citadel && p.Loaded.Evidence == proxy.EvidenceCerts && len(p.Loaded.Contexts) > 0 {
		return j.mounted(p.Loaded)
	}
	// A ztunnel on a node without pods of the mesh lists none (ztunnel 1.31.0-rc.0
	// src/admin.rs, dump_certs): it presents and trusts nothing, as what has not started.
	if len(p.Loaded.Identities) == 0 && p.Kind != mesh.Ztunnel {
		return "it holds no mesh certificate", true
	}
	for _, secret := range p.Loaded.Warming {
		if secret == "default" || secret == "ROOTCA" {
			return "its secret " + secret + " is warming: not in use yet", true
		}
	}
	if j.e.fresh && stale(p) && (j.e.freshSince.IsZero() || !p.Created.After(j.e.freshSince)) {
		release, _ := p.ReleaseOf()
		return "its agent (" + release + ") reads the roots for its requests to istiod at its start alone: it must be restarted", false
	}
	if j.e.files && p.OutputCerts != "" && (j.e.freshSince.IsZero() || !p.Created.After(j.e.freshSince)) {
		return "whoever reads what it writes to " + p.OutputCerts + " may have what was there before: it must be restarted", false
	}
	for _, identity := range p.Loaded.Identities {
		if why, unknown := j.identity(identity, p); why != "" {
			return why, unknown
		}
	}
	if from := j.s.Forsaken(p); from != "" && j.e.Roots != nil && !j.e.Citadel {
		return "its agent knows istiod by the roots of " + from + ", which no istiod writes any more: restart it, or it gets no certificate once the old root is gone", false
	}
	if p.OwnRoots != "" && j.e.Roots != nil && !j.e.Citadel && p.Reach != mesh.ReachElsewhere {
		return "its agent knows istiod by the roots in " + p.OwnRoots + ", which no istiod writes: where the new root is not there too, it gets no certificate any more once the old one is gone", true
	}
	return "", false
}

func (e Expectation) asksProxies() bool {
	return e.Trusted != nil || e.Leaves || e.Accepted != nil
}

func (j *judgement) identity(i proxy.Identity, p mesh.Proxy) (why string, unknown bool) {
	if i.State != "" {
		return "it says of its identity " + cmp.Or(i.SPIFFE, i.Secret) + ": " + i.State, false
	}
	if why, unknown := j.crlsOf(i, p); why != "" && j.e.crls == crlsNone {
		j.byCRL = true
		return why, unknown
	}
	leaf := i.Leaf()
	if leaf == nil {
		return "it has no certificate of its own", true
	}
	if leaf.X509 == nil {
		return "its certificate cannot be parsed: " + leaf.Err.Error(), true
	}
	if at := j.s.ClusterTime(); at.After(leaf.X509.NotAfter) {
		return "its certificate expired at " + leaf.X509.NotAfter.UTC().Format(time.RFC3339), false
	}
	for n, held := range i.Trusts(j.domains) {
		roots, of := pki.NewSet(held...), ""
		if i.Domains != nil {
			of = " for the trust domain " + j.domains[n]
		}
		if j.e.Trusted != nil && !roots.Contains(j.trusted) {
			return fmt.Sprintf("it does not trust all roots yet%s (%s)", of, difference(held, j.e.Trusted)), false
		}
		if j.e.Only && !j.allowed.Contains(roots) && len(j.s.MeshCAURLs) > 0 && !slices.ContainsFunc(j.e.Gone, roots.Has) {
			return fmt.Sprintf("it trusts other roots too%s (%s), which may be those behind %s of meshConfig.caCertificates: istiod fetches them, and nobody else here; --mesh-root names them", of, difference(held, j.e.Trusted), strings.Join(j.s.MeshCAURLs, ", ")), true
		}
		if j.e.Only && !j.allowed.Contains(roots) {
			return fmt.Sprintf(trustsOthers+"%s (%s)", of, difference(held, j.e.Trusted)), false
		}
	}
	if j.e.Leaves && !j.memo.SignedBy(leaf, j.e.Signer) {
		return fmt.Sprintf("its certificate is signed by %s", issuer(leaf)), false
	}
	if j.e.Leaves {
		if before := j.e.Signer.Before(i.Chain[1:]); before != nil {
			return "its certificate comes with " + former(before, j.e.Signer), false
		}
	}
	for _, trusted := range [][]*pki.Certificate{j.e.Accepted, j.e.InForce} {
		if trusted == nil {
			continue
		}
		// By its own kind: both kinds are asked in the trust matrix.
		question := pki.Question{Judge: p.Judge(), Roots: trusted, Chain: i.Chain, At: j.s.ClusterTime(), Usage: pki.ClientAuth, EnvoyMinor: p.EnvoyMinor()}
		if j.domains != nil { // who judges by them is the stricter one
			question.Domains = []pki.Domain{{Name: pki.DomainOf(i.SPIFFE), Roots: trusted}}
		}
		answer := j.memo.Verify(question)
		if answer.Result == pki.Accepted {
			answer = revoked(j.revocations, question, j.memo.Verify)
		}
		if answer.Result != pki.Accepted {
			j.byCRL = answer.ByCRL
			return "its certificate would not be accepted: " + answer.Reason, answer.Result == pki.Depends
		}
	}
	// /certs may be missing, and config_dump stands without it; what it does show
	// must not contradict it.
	if _, stale := p.Loaded.InUse(i); stale != "" {
		return "a live TLS context still uses another certificate, " + stale, false
	}
	return "", false
}

// former says which certificate of an intermediate is meant where two have one key.
func former(before, signer *pki.Certificate) string {
	return fmt.Sprintf("%s %s, of the same key as %s, until %s", before.Subject(), before.Fingerprint().Short(), signer.Fingerprint().Short(), stamp(before.X509.NotAfter))
}

func issuer(c *pki.Certificate) string {
	if c.X509 == nil {
		return "an unknown issuer"
	}
	return c.X509.Issuer.String()
}

// without leaves out what is among the roots.
func without(certs, roots []*pki.Certificate) []*pki.Certificate {
	set := pki.NewSet(roots...)
	return slices.DeleteFunc(slices.Clone(certs), set.Has)
}

func sameCerts(a, b []*pki.Certificate) bool {
	return slices.EqualFunc(a, b, func(x, y *pki.Certificate) bool { return x.Equal(y) })
}

// difference says in which roots have differs from want, by name.
func difference(have, want []*pki.Certificate) string {
	var parts []string
	list := func(word string, of, without pki.Set) {
		var names []string
		for f, c := range of {
			if _, ok := without[f]; !ok {
				names = append(names, c.Subject()+" "+f.Short())
			}
		}
		slices.Sort(names)
		if len(names) > 0 {
			parts = append(parts, word+" "+strings.Join(names, ", "))
		}
	}
	h, w := pki.NewSet(have...), pki.NewSet(want...)
	list("lacks", w, h)
	list("has besides", h, w)
	if len(parts) == 0 {
		return "the same set"
	}
	return strings.Join(parts, "; ")
}
