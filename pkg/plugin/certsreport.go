package plugin

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// certsReport is the result of "certs".
type certsReport struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Clusters   []certsCluster `json:"clusters"`
	// Shared are the roots that more than one of the clusters trusts.
	Shared []sharedRoot `json:"shared,omitempty"`
}

type sharedRoot struct {
	Root     certBrief `json:"root"`
	Clusters []string  `json:"clusters"`
}

// certsCluster is one cluster's inventory.
type certsCluster struct {
	Context     string    `json:"context,omitempty"`
	At          time.Time `json:"at,omitzero"`
	TrustDomain string    `json:"trustDomain,omitempty"`
	// MTLS says whether mutual TLS is used, and MTLSWhy by what that is decided.
	MTLS    check.Use `json:"mtls,omitempty"`
	MTLSWhy []string  `json:"mtlsWhy,omitempty"`
	// Managed are cert-manager's Certificates that write the CA.
	Managed []mesh.ManagedCA `json:"managed,omitempty"`
	CA      []certsCA        `json:"ca"`
	Planes  []certsPlane     `json:"controlPlane"`
	Items   []certsItem      `json:"items"`
	Links   []certsLink      `json:"links,omitempty"`
	// Findings are those on lives and ends.
	Findings []check.Finding `json:"findings,omitempty"`
	// Error says why the cluster could not be read.
	Error string `json:"error,omitempty"`

	uid    string
	faults []string
	unread int
}

// certsCA is one certificate of a CA.
type certsCA struct {
	// Source is where it was found: a Secret, or what the mesh trusts where that was not read.
	Source string `json:"source"`
	// Role is root, signer or chain.
	Role string `json:"role"`
	certBrief
	DaysLeft int `json:"daysLeft"`
}

// certsPlane is what one replica of a control plane serves.
type certsPlane struct {
	Namespace string     `json:"namespace"`
	Pod       string     `json:"pod"`
	Leaf      *certBrief `json:"leaf,omitempty"`
	DNSNames  []string   `json:"dnsNames,omitempty"`
	Chain     []string   `json:"chain,omitempty"`
	Error     string     `json:"error,omitempty"`
}

// certsItem is one identity.
type certsItem struct {
	Namespace      string         `json:"namespace"`
	ServiceAccount string         `json:"serviceAccount"`
	SPIFFE         string         `json:"spiffe"`
	Certificates   []certsHolding `json:"certificates"`
	Unread         []string       `json:"unread,omitempty"`
}

// certsHolding is one certificate of an identity.
type certsHolding struct {
	mesh.Holding
	Subject string `json:"subject,omitempty"`
	Issuer  string `json:"issuer,omitempty"`
}

// certsLink is a way in which proxies are secured towards the control plane.
type certsLink struct {
	mesh.Link
	Proxies []string `json:"proxies"`
}

// newCertsCluster describes one Snapshot; it is pure.
func newCertsCluster(s *mesh.Snapshot) certsCluster {
	c := certsCluster{Context: s.Cluster.Context, At: s.TakenAt, TrustDomain: s.TrustDomain, uid: s.Cluster.UID, CA: []certsCA{}, Planes: []certsPlane{}, Items: []certsItem{}}
	for _, plane := range s.ControlPlanes {
		c.authority(s, plane)
		for _, r := range plane.Replicas {
			if plane.CA.Kind != mesh.CACitadel { // a Citadel serves on another port, and to nobody who is read here
				c.Planes = append(c.Planes, servedBy(plane, r))
			}
		}
	}
	for _, identity := range mesh.Identities(s) {
		item := certsItem{Namespace: identity.Namespace, ServiceAccount: identity.ServiceAccount, SPIFFE: identity.SPIFFE, Unread: identity.Unread, Certificates: []certsHolding{}}
		c.unread += len(identity.Unread)
		for _, h := range identity.Certificates {
			holding := certsHolding{Holding: h}
			if h.Certificate != nil {
				b := brief(h.Certificate)
				holding.Subject, holding.Issuer = b.Subject, b.Issuer
			}
			who := identity.Namespace + "/" + identity.ServiceAccount
			switch {
			case h.Fault != "":
				c.faults = append(c.faults, who+": "+h.Fault)
			case !h.NotAfter.IsZero() && !s.TakenAt.Before(h.NotAfter):
				c.faults = append(c.faults, who+": a certificate ended at "+stamp(h.NotAfter))
			}
			item.Certificates = append(item.Certificates, holding)
		}
		c.Items = append(c.Items, item)
	}
	c.links(s.Proxies)
	c.MTLS, c.MTLSWhy = check.MTLSUse(s)
	c.Managed = s.ManagedCAs
	for _, f := range check.Run(s, check.DefaultPolicy()).Findings {
		if f.Category == check.Expiry || strings.HasPrefix(f.ID, "cert-manager-") || strings.HasPrefix(f.ID, "citadel-secret") {
			c.Findings = append(c.Findings, f)
		}
	}
	return c
}

func (c *certsCluster) authority(s *mesh.Snapshot, plane mesh.ControlPlane) {
	source := "secret " + plane.CA.Namespace + "/" + plane.CA.Secret
	if plane.CA.Secret == "" {
		source = "istiod " + plane.Namespace + "/" + plane.Name
	}
	seen := pki.Set{}
	add := func(role, source string, certs []*pki.Certificate) {
		for _, cert := range certs {
			if !seen.Has(cert) {
				seen[cert.Fingerprint()] = cert
				c.CA = append(c.CA, certsCA{Source: source, Role: role, certBrief: brief(cert), DaysLeft: pki.Describe(cert, s.TakenAt).DaysLeft})
			}
		}
	}
	add("root", source, plane.CA.Root.Certs)
	// A CA that is no Secret, or one that may not be read, is known by what the mesh trusts.
	if anchor, where := s.LiveAnchor(plane); anchor != nil && len(plane.CA.Root.Certs) == 0 {
		add("root", where, anchor.Bundle.Certs)
	}
	add("signer", source, plane.CA.Cert.Certs)
	add("chain", source, plane.CA.Chain.Certs)
}

func servedBy(plane mesh.ControlPlane, r mesh.Istiod) certsPlane {
	p := certsPlane{Namespace: plane.Namespace, Pod: r.Pod}
	if r.Served == nil || len(r.Served.Chain) == 0 {
		p.Error = cmp.Or(r.ServedError, "it was not asked")
		return p
	}
	leaf := brief(r.Served.Chain[0])
	p.Leaf = &leaf
	if x := r.Served.Chain[0].X509; x != nil {
		p.DNSNames = x.DNSNames
	}
	for _, cert := range r.Served.Chain[1:] {
		p.Chain = append(p.Chain, cert.Subject())
	}
	return p
}

func (c *certsCluster) links(proxies []mesh.Proxy) {
	index := map[mesh.Link]int{}
	for _, p := range proxies {
		link := mesh.LinkOf(p)
		if link.Via == "" {
			continue
		}
		i, ok := index[link]
		if !ok {
			i = len(c.Links)
			index[link] = i
			c.Links = append(c.Links, certsLink{Link: link})
		}
		c.Links[i].Proxies = append(c.Links[i].Proxies, p.Ref())
	}
}

// add takes a cluster's inventory in, with the rows that are to be shown.
func (r *certsReport) add(c certsCluster, s *mesh.Snapshot, show show) {
	labelled := map[string]map[string]string{}
	for _, p := range s.Proxies {
		labelled[p.Ref()] = p.Labels
	}
	hidden := func(ref string) bool {
		namespace, _, _ := strings.Cut(ref, "/")
		return !show(namespace, labelled[ref])
	}
	c.Items = slices.DeleteFunc(c.Items, func(i certsItem) bool {
		return !show(i.Namespace, nil) && !slices.ContainsFunc(i.pods(), func(ref string) bool { return !hidden(ref) })
	})
	r.Clusters = append(r.Clusters, c)
}

func (i certsItem) pods() []string {
	all := slices.Clone(i.Unread)
	for _, h := range i.Certificates {
		all = append(all, h.Pods...)
	}
	return all
}

// share finds the roots that several clusters have: they are rotated together.
func (r *certsReport) share() {
	for n, c := range r.Clusters {
		for _, ca := range c.CA {
			if ca.Role != "root" || slices.ContainsFunc(r.Shared, func(s sharedRoot) bool { return s.Root.Fingerprint == ca.Fingerprint }) {
				continue
			}
			names := []string{c.Context}
			for _, other := range r.Clusters[n+1:] {
				has := slices.ContainsFunc(other.CA, func(o certsCA) bool { return o.Role == "root" && o.Fingerprint == ca.Fingerprint })
				if has && (c.uid == "" || c.uid != other.uid) { // two contexts of one cluster share everything
					names = append(names, other.Context)
				}
			}
			if len(names) > 1 {
				r.Shared = append(r.Shared, sharedRoot{Root: ca.certBrief, Clusters: names})
			}
		}
	}
}

func (r *certsReport) failure() error {
	var faults []string
	unread := 0
	for _, c := range r.Clusters {
		faults = append(faults, c.faults...)
		unread += c.unread
		for _, p := range c.Planes {
			if p.Leaf == nil {
				unread++
			}
		}
		for _, f := range c.Findings {
			if f.Severity == pki.SeverityError {
				faults = append(faults, f.Object+": "+f.Message)
			}
		}
		if len(c.Items) == 0 && len(c.CA) == 0 && len(c.Planes) == 0 {
			return found(errors.New("no control plane and no identity was found"), "an inventory of nothing proves nothing: is this the right cluster?")
		}
	}
	switch {
	case len(faults) > 1:
		return found(fmt.Errorf("%s; %d more are not in order", faults[0], len(faults)-1), "'kubectl meshca check' judges them all")
	case len(faults) == 1:
		return found(errors.New(faults[0]), "'kubectl meshca check' judges them all")
	case unread > 0:
		return found(fmt.Errorf("the certificates of %s could not be read", counted(unread, "pod")), "what cannot be read is not known: -o wide names them, 'kubectl meshca envoy' says why")
	}
	return nil
}

func (r *certsReport) rows(wide bool) [][]string {
	var rows [][]string
	for n, c := range r.Clusters {
		if n > 0 {
			rows = append(rows, []string{""})
		}
		if c.Context != "" || len(r.Clusters) > 1 {
			rows = append(rows, []string{"cluster: " + c.Context})
		}
		if c.Error != "" {
			rows = append(rows, []string{"error: " + c.Error})
			continue
		}
		rows = append(rows, c.rows(wide)...)
	}
	for _, s := range r.Shared {
		rows = append(rows, []string{fmt.Sprintf("shared: %s (%s) is a root of %s: rotate them together", s.Root.Subject, s.Root.Fingerprint.Short(), strings.Join(s.Clusters, ", "))})
	}
	return rows
}

func (c certsCluster) rows(wide bool) [][]string {
	rows := [][]string{{"trust domain: " + c.TrustDomain}, {"mutual TLS: " + string(c.MTLS) + ": " + strings.Join(c.MTLSWhy, "; ")}}
	for _, m := range c.Managed {
		line := fmt.Sprintf("cert-manager: certificate %s/%s by %s (%s), for %s, renewed %s before its end", m.Namespace, m.Name, m.Issuer, cmp.Or(m.IssuerType, "unknown"), time.Duration(m.Duration), time.Duration(m.RenewBefore))
		if !m.RenewalTime.IsZero() {
			line += ", next at " + stamp(m.RenewalTime)
		}
		rows = append(rows, []string{line})
	}
	rows = append(rows, []string{"CA", "SUBJECT", "ISSUER", "SERIAL", "FROM", "UNTIL", "DAYS", "SOURCE"})
	for _, ca := range c.CA {
		rows = append(rows, []string{ca.Role, ca.Subject, ca.Issuer, ca.Serial, stamp(ca.NotBefore), stamp(ca.NotAfter), strconv.Itoa(ca.DaysLeft), ca.Source})
	}
	rows = append(rows, []string{""}, []string{"ISTIOD", "NAMES", "ISSUER", "SERIAL", "FROM", "UNTIL"})
	for _, p := range c.Planes {
		if p.Leaf == nil {
			rows = append(rows, []string{p.Namespace + "/" + p.Pod, "not read: " + p.Error})
			continue
		}
		names := p.DNSNames
		if more := len(names) - 1; more > 0 && !wide {
			names = []string{names[0], fmt.Sprintf("%d more", more)}
		}
		rows = append(rows, []string{p.Namespace + "/" + p.Pod, strings.Join(names, ","), p.Leaf.Issuer, p.Leaf.Serial, stamp(p.Leaf.NotBefore), stamp(p.Leaf.NotAfter)})
	}
	rows = append(rows, []string{""})
	if wide {
		rows = append(rows, c.wide()...)
	} else {
		rows = append(rows, c.brief()...)
	}
	if len(c.Links) > 0 {
		rows = append(rows, []string{""}, []string{"TO CONTROL PLANE", "PROXIES", "CREDENTIAL", "ROOT", "EXPECTS"})
		for _, l := range c.Links {
			row := []string{cmp.Or(l.Address, l.Via), strconv.Itoa(len(l.Proxies)), l.Credential, l.Root, l.Names}
			if !l.Secured {
				row = []string{cmp.Or(l.Address, l.Via), strconv.Itoa(len(l.Proxies)), "not secured"}
			}
			rows = append(rows, row)
		}
	}
	for _, f := range c.Findings {
		if f.Severity != pki.SeverityInfo || wide {
			rows = append(rows, []string{string(f.Severity) + ": " + f.Object + ": " + f.Message})
		}
	}
	identities, certificates := len(c.Items), 0
	for _, i := range c.Items {
		certificates += len(i.Certificates)
	}
	return append(rows, []string{fmt.Sprintf("%d identities, %d certificates, %d pods not read, %d not in order (clock: %s)", identities, certificates, c.unread, len(c.faults), stamp(c.At))})
}

// brief is one row for each identity: of its certificates the one that ends first.
func (c certsCluster) brief() [][]string {
	rows := [][]string{{"NAMESPACE", "SERVICE ACCOUNT", "SPIFFE ID", "ISSUER", "CERTS", "PODS", "ENDS FIRST", "NOTE"}}
	for _, i := range c.Items {
		var issuers, notes []string
		var first time.Time
		for _, h := range i.Certificates {
			if h.Issuer != "" && !slices.Contains(issuers, h.Issuer) {
				issuers = append(issuers, h.Issuer)
			}
			if first.IsZero() || !h.NotAfter.IsZero() && h.NotAfter.Before(first) {
				first = h.NotAfter
			}
			if h.Fault != "" && !slices.Contains(notes, h.Fault) {
				notes = append(notes, h.Fault)
			}
		}
		if n := len(i.Unread); n > 0 {
			notes = append(notes, counted(n, "pod")+" not read")
		}
		rows = append(rows, []string{i.Namespace, i.ServiceAccount, i.SPIFFE, strings.Join(issuers, "; "), strconv.Itoa(len(i.Certificates)), strconv.Itoa(len(i.pods())), stamp(first), strings.Join(notes, "; ")})
	}
	return rows
}

// wide is one row for each certificate.
func (c certsCluster) wide() [][]string {
	rows := [][]string{{"NAMESPACE", "SERVICE ACCOUNT", "SPIFFE ID", "SUBJECT", "ISSUER", "SERIAL", "FROM", "UNTIL", "SECRET", "PODS", "NOTE"}}
	for _, i := range c.Items {
		for _, h := range i.Certificates {
			rows = append(rows, []string{i.Namespace, i.ServiceAccount, i.SPIFFE, h.Subject, h.Issuer, h.Serial, stamp(h.NotBefore), stamp(h.NotAfter), h.Secret, podNames(h.Pods), h.Fault})
		}
		if len(i.Unread) > 0 {
			rows = append(rows, []string{i.Namespace, i.ServiceAccount, i.SPIFFE, "", "", "", "", "", "", podNames(i.Unread), "not read"})
		}
	}
	return rows
}

// podNames drops the namespace, which stands in the row.
func podNames(refs []string) string {
	var all []string
	for _, ref := range refs {
		_, name, _ := strings.Cut(ref, "/")
		all = append(all, name)
	}
	return strings.Join(all, ",")
}

func (r *certsReport) names() []string {
	var all []string
	for _, c := range r.Clusters {
		for _, i := range c.Items {
			all = append(all, "serviceaccount/"+i.Namespace+"/"+i.ServiceAccount)
		}
	}
	return all
}
