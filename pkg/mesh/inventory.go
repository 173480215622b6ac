package mesh

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

// Identity is one service account of the mesh with the certificates that its pods
// use now.
type Identity struct {
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
	// SPIFFE is the identity that its certificates carry, or should.
	SPIFFE       string    `json:"spiffe"`
	Certificates []Holding `json:"certificates"`
	// Unread are pods of the account of which it is not known what they use, as
	// namespace/name.
	Unread []string `json:"unread,omitempty"`
}

// Holding is one certificate and who holds it.
type Holding struct {
	// Certificate is nil where only the proxy's /certs tells of it: then Serial and
	// the dates are all that is known.
	Certificate *pki.Certificate `json:"-"`
	Serial      string           `json:"serial,omitempty"`
	NotBefore   time.Time        `json:"notBefore,omitzero"`
	NotAfter    time.Time        `json:"notAfter,omitzero"`
	// Secret is where a Citadel keeps it, "" where it lives in the proxies alone.
	Secret string `json:"secret,omitempty"`
	// Pods share it, as namespace/name. A ztunnel holds one for all pods of the
	// account on its node.
	Pods []string `json:"pods,omitempty"`
	// Fault says what is wrong with whom it is made out to, or that it could not be
	// read.
	Fault string `json:"fault,omitempty"`
}

// SPIFFEOf is the identity of a service account (istio 1.30.3 pkg/spiffe/spiffe.go).
func SPIFFEOf(trustDomain, namespace, account string) string {
	return fmt.Sprintf("spiffe://%s/ns/%s/sa/%s", cmp.Or(trustDomain, defaultTrustDomain), namespace, cmp.Or(account, "default"))
}

// accounts gathers identities by namespace and service account.
type accounts struct {
	s     *Snapshot
	index map[[2]string]int
	all   []Identity
	// held is where each identity's certificate of a serial number stands.
	held map[[2]string]int
}

// Identities lists the mesh's identities and the certificates that stand for each
// of them now, by what live proxies and a Citadel's Secrets hold.
func Identities(s *Snapshot) []Identity {
	a := &accounts{s: s, index: map[[2]string]int{}, held: map[[2]string]int{}}
	for _, w := range s.WorkloadSecrets {
		i := a.of(w.Namespace, w.ServiceAccount)
		h := Holding{Secret: w.Name, Fault: w.Error}
		if len(w.Chain) > 0 {
			h = holdingOf(w.Chain[0])
			h.Secret, h.Fault = w.Name, cmp.Or(w.Error, misnamed(w.Chain[0].SPIFFE(), a.all[i].SPIFFE))
		}
		a.add(i, h)
	}
	for _, p := range s.Proxies {
		if p.Kind == Ztunnel {
			a.ztunnel(p)
			continue
		}
		a.proxy(p)
	}
	slices.SortFunc(a.all, func(x, y Identity) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.ServiceAccount, y.ServiceAccount))
	})
	return a.all
}

func (a *accounts) of(namespace, account string) int {
	account = cmp.Or(account, "default")
	key := [2]string{namespace, account}
	i, ok := a.index[key]
	if !ok {
		i = len(a.all)
		a.index[key] = i
		a.all = append(a.all, Identity{Namespace: namespace, ServiceAccount: account, SPIFFE: SPIFFEOf(a.s.TrustDomain, namespace, account)})
	}
	return i
}

// add records who holds a certificate; one that is known already gains the pods.
func (a *accounts) add(i int, h Holding) {
	identity := &a.all[i]
	key := [2]string{identity.SPIFFE, h.Serial}
	if at, ok := a.held[key]; ok && h.Serial != "" {
		known := &identity.Certificates[at]
		known.Pods = append(known.Pods, h.Pods...)
		known.Fault = cmp.Or(known.Fault, h.Fault)
		return
	}
	a.held[key] = len(identity.Certificates)
	identity.Certificates = append(identity.Certificates, h)
}

// proxy records what an Envoy uses: by its secrets, or by its live contexts where
// its certificate is a file.
func (a *accounts) proxy(p Proxy) {
	i := a.of(p.Namespace, p.ServiceAccount)
	found := false
	if p.Loaded != nil {
		for _, identity := range p.Loaded.Identities {
			if leaf := identity.Leaf(); leaf != nil {
				h := holdingOf(leaf)
				h.Pods, h.Fault = []string{p.Ref()}, misnamed(identity.SPIFFE, a.all[i].SPIFFE)
				a.add(i, h)
				found = true
			}
		}
		if p.Loaded.Evidence == proxy.EvidenceCerts {
			found = a.contexts(i, p) || found
		}
	}
	if !found {
		a.all[i].Unread = append(a.all[i].Unread, p.Ref())
	}
}

func (a *accounts) contexts(i int, p Proxy) (found bool) {
	seen := map[string]bool{}
	for _, c := range p.Loaded.Contexts {
		if c.SPIFFE == "" || seen[c.LeafSerial] {
			continue
		}
		seen[c.LeafSerial], found = true, true
		a.add(i, Holding{Serial: c.LeafSerial, NotBefore: c.LeafFrom, NotAfter: c.LeafUntil, Pods: []string{p.Ref()}, Fault: misnamed(c.SPIFFE, a.all[i].SPIFFE)})
	}
	return found
}

// ztunnel records what a node's ztunnel holds for the accounts of that node.
func (a *accounts) ztunnel(p Proxy) {
	if p.Loaded == nil {
		i := a.of(p.Namespace, p.ServiceAccount)
		a.all[i].Unread = append(a.all[i].Unread, p.Ref())
		return
	}
	for _, identity := range p.Loaded.Identities {
		namespace, account, ok := accountOf(identity.SPIFFE)
		leaf := identity.Leaf()
		if !ok || leaf == nil {
			continue
		}
		i := a.of(namespace, account)
		h := holdingOf(leaf)
		h.Pods, h.Fault = []string{p.Ref()}, misnamed(identity.SPIFFE, a.all[i].SPIFFE)
		a.add(i, h)
	}
}

func holdingOf(c *pki.Certificate) Holding {
	h := Holding{Certificate: c}
	if c.X509 == nil {
		h.Serial, h.Fault = "unparsable "+c.Fingerprint().Short(), "it cannot be parsed"
		return h
	}
	h.Serial, h.NotBefore, h.NotAfter = c.X509.SerialNumber.Text(16), c.X509.NotBefore.UTC(), c.X509.NotAfter.UTC()
	return h
}

func misnamed(has, wants string) string {
	switch has {
	case wants:
		return ""
	case "":
		return "it carries no SPIFFE ID, and should carry " + wants
	}
	return "it is made out to " + has
}

// accountOf reads spiffe://TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT.
func accountOf(spiffe string) (namespace, account string, ok bool) {
	path, found := strings.CutPrefix(spiffe, "spiffe://")
	parts := strings.Split(path, "/")
	if !found || len(parts) != 5 || parts[1] != "ns" || parts[3] != "sa" || parts[2] == "" || parts[4] == "" {
		return "", "", false
	}
	return parts[2], parts[4], true
}
