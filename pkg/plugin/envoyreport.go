package plugin

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

// envoyState is the verdict on one proxy.
type envoyState string

const (
	// stateLoaded: all wanted roots are in ROOTCA, and the leaf is in use.
	stateLoaded envoyState = "loaded"
	// stateMissing: at least one wanted root is not.
	stateMissing envoyState = "missing"
	// stateSwapping: the dump shows another leaf than the live contexts use.
	stateSwapping envoyState = "swapping"
	// stateExpired: its leaf is not valid now.
	stateExpired envoyState = "expired"
	// stateUnreadable: unknown, which is never yes.
	stateUnreadable envoyState = "unreadable"
	// stateRead: it was read, and no root was asked for.
	stateRead envoyState = "read"
)

// envoyReport is the result of "envoy", as printed by -o json.
type envoyReport struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// TakenAt is when proxies were read. Before is when those of --older-than were.
	TakenAt time.Time   `json:"takenAt,omitzero"`
	Before  time.Time   `json:"before,omitzero"`
	Wanted  []certBrief `json:"wanted,omitempty"`
	Items   []envoyItem `json:"items"`
}

type envoyItem struct {
	Namespace     string         `json:"namespace"`
	Name          string         `json:"name"`
	ProxyKind     mesh.ProxyKind `json:"proxyKind"`
	Version       string         `json:"version,omitempty"`
	State         envoyState     `json:"state"`
	Reason        string         `json:"reason,omitempty"`
	Evidence      proxy.Evidence `json:"evidence,omitempty"`
	SPIFFE        string         `json:"spiffe,omitempty"`
	Leaf          *certBrief     `json:"leaf,omitempty"`
	Roots         []certBrief    `json:"roots,omitempty"`
	LeafUpdated   time.Time      `json:"leafUpdated,omitzero"`
	RootsUpdated  time.Time      `json:"rootsUpdated,omitzero"`
	LeafConfirmed bool           `json:"leafConfirmed"`
	// Upstreams are the counters of --counters.
	Upstreams []proxy.Upstream `json:"upstreams,omitempty"`
	// Older are the connections of --older-than.
	Older *olderReport `json:"older,omitempty"`
}

// certBrief is what tells a certificate from another.
type certBrief struct {
	Fingerprint pki.Fingerprint `json:"fingerprint"`
	Subject     string          `json:"subject"`
	Issuer      string          `json:"issuer,omitempty"`
	Serial      string          `json:"serial,omitempty"`
	NotBefore   time.Time       `json:"notBefore,omitzero"`
	NotAfter    time.Time       `json:"notAfter,omitzero"`
}

func brief(c *pki.Certificate) certBrief {
	b := certBrief{Fingerprint: c.Fingerprint(), Subject: c.Subject()}
	if x := c.X509; x != nil {
		b.Issuer, b.Serial = x.Issuer.String(), x.SerialNumber.Text(16)
		b.NotBefore, b.NotAfter = x.NotBefore, x.NotAfter
	}
	return b
}

func briefs(certs []*pki.Certificate) []certBrief {
	var all []certBrief
	for _, c := range certs {
		all = append(all, brief(c))
	}
	return all
}

// newEnvoyReport judges what was read; it is pure.
func newEnvoyReport(proxies []mesh.Proxy, want pki.Bundle, now time.Time) envoyReport {
	report := envoyReport{APIVersion: mesh.APIVersion, Kind: "EnvoyList", TakenAt: now, Wanted: briefs(want.Certs), Items: []envoyItem{}}
	domains := mesh.Domains(proxies)
	for _, p := range proxies {
		report.Items = append(report.Items, judge(p, want, domains, now))
	}
	slices.SortFunc(report.Items, func(a, b envoyItem) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return report
}

// judgeMounted judges an Envoy whose certificates are files (Istio 1.0 to 1.4) by
// the first CA and the leaf of each live context, which is all that it shows: a
// bundle of two roots cannot be proven that way.
func judgeMounted(item envoyItem, contexts []proxy.Context, want pki.Bundle, now time.Time) envoyItem {
	item.Evidence, item.State = proxy.EvidenceCerts, stateRead
	if len(want.Certs) > 1 {
		item.State, item.Reason = stateUnreadable, "its certificates are files: only the first root of a bundle can be seen"
		return item
	}
	for _, c := range contexts {
		if c.SPIFFE == "" {
			continue // a gateway's own credential
		}
		item.SPIFFE = c.SPIFFE
		item.Leaf = &certBrief{Serial: c.LeafSerial, NotBefore: c.LeafFrom, NotAfter: c.LeafUntil}
		if !c.LeafUntil.IsZero() && !now.Before(c.LeafUntil) {
			item.State, item.Reason = stateExpired, "its certificate ended at "+stamp(c.LeafUntil)
			return item
		}
		for _, root := range briefs(want.Certs) {
			if c.CASerial != root.Serial || !c.CAFrom.Equal(root.NotBefore) {
				item.State, item.Reason = stateMissing, fmt.Sprintf("a live context trusts the root valid from %s, and not %s, valid from %s", stamp(c.CAFrom), root.Subject, stamp(root.NotBefore))
				return item
			}
			item.State = stateLoaded
		}
	}
	return item
}

func judge(p mesh.Proxy, want pki.Bundle, domains []string, now time.Time) envoyItem {
	item := envoyItem{Namespace: p.Namespace, Name: p.Name, ProxyKind: p.Kind, Version: p.Version, Upstreams: p.Upstreams}
	if p.Loaded != nil && p.Loaded.Evidence == proxy.EvidenceCerts && len(p.Loaded.Contexts) > 0 {
		return judgeMounted(item, p.Loaded.Contexts, want, now)
	}
	switch {
	case p.Loaded == nil || len(p.Loaded.Identities) == 0 && p.Kind != mesh.Ztunnel:
		item.State, item.Reason = stateUnreadable, cmp.Or(p.Error, "it was not read")
		return item
	case len(p.Loaded.Identities) == 0:
		item.State, item.Evidence, item.Reason = stateRead, p.Loaded.Evidence, "it serves no pod of the mesh now: it presents and trusts nothing"
		return item
	}
	// A ztunnel has one for each account on its node: the first that is not as it should
	// be is shown.
	first := judgeIdentity(item, p.Loaded, p.Loaded.Identities[0], want, domains, now)
	for _, identity := range p.Loaded.Identities {
		if one := judgeIdentity(item, p.Loaded, identity, want, domains, now); one.State != stateLoaded && one.State != stateRead {
			return one
		}
	}
	return first
}

func judgeIdentity(item envoyItem, loaded *proxy.Loaded, identity proxy.Identity, want pki.Bundle, domains []string, now time.Time) envoyItem {
	item.Evidence, item.SPIFFE, item.Roots = loaded.Evidence, identity.SPIFFE, briefs(identity.Roots)
	item.LeafUpdated, item.RootsUpdated = identity.ChainUpdated, identity.RootsUpdated
	switch {
	case identity.State != "":
		item.State, item.Reason = stateUnreadable, "it says of its identity "+cmp.Or(identity.SPIFFE, identity.Secret)+": "+identity.State
		return item
	case identity.Leaf() == nil:
		item.State, item.Reason = stateUnreadable, "it has no certificate for its identity "+cmp.Or(identity.SPIFFE, identity.Secret)
		return item
	}
	leaf := brief(identity.Leaf())
	item.Leaf = &leaf
	var stale string
	item.LeafConfirmed, stale = loaded.InUse(identity)
	var missing []string
	for n, held := range identity.Trusts(domains) {
		roots, of := pki.NewSet(held...), ""
		if identity.Domains != nil {
			of = " for the trust domain " + domains[n]
		}
		for _, c := range want.Certs {
			if !roots.Has(c) {
				missing = append(missing, c.Subject()+" ("+c.Fingerprint().Short()+")"+of)
			}
		}
	}
	switch {
	case !now.Before(leaf.NotAfter) || now.Before(leaf.NotBefore):
		item.State, item.Reason = stateExpired, fmt.Sprintf("its certificate is valid from %s to %s only", leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339))
	case stale != "":
		item.State, item.Reason, item.LeafConfirmed = stateSwapping, "a live TLS context still uses the leaf "+stale, false
	case len(missing) > 0:
		item.State, item.Reason = stateMissing, "has not loaded "+strings.Join(missing, ", ")
	case len(want.Certs) > 0:
		item.State = stateLoaded
	default:
		item.State = stateRead
	}
	return item
}

// verdict is nil where every proxy was read and has what was asked for. An empty
// list proves nothing about roots, so with --root it is a finding.
func (r envoyReport) verdict() error {
	if len(r.Items) == 0 {
		return found(errors.New("no live proxy was found"), "look at another namespace or selector, or at the pods' containers: a proxy's is called istio-proxy")
	}
	var bad []string
	for _, item := range r.Items {
		if item.State != stateLoaded && item.State != stateRead {
			bad = append(bad, item.Namespace+"/"+item.Name+" ("+string(item.State)+")")
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return found(fmt.Errorf("%d of %d proxies are not proven: %s", len(bad), len(r.Items), firstOf(bad)), "-o wide shows the reason of each")
}

// firstOf names the first of many, and says how many more there are.
func firstOf(names []string) string {
	const shown = 5
	text := strings.Join(names[:min(shown, len(names))], ", ")
	if len(names) > shown {
		text += fmt.Sprintf(" and %d more", len(names)-shown)
	}
	return text
}

func (r envoyReport) names() []string {
	var all []string
	for _, item := range r.Items {
		all = append(all, "pod/"+item.Name)
	}
	return all
}

func (r envoyReport) rows(wide bool) [][]string {
	header := []string{"NAMESPACE", "NAME", "STATE", "ISSUER", "NOT BEFORE", "ROOTS"}
	if !r.Before.IsZero() {
		header = append(header, "OLDER CONNECTIONS")
		if wide {
			header = append(header, "DRAIN")
		}
	}
	if wide {
		header = append(header, "KIND", "VERSION", "SERIAL", "EXPIRES", "CONFIRMED", "EVIDENCE", "CONNECTIONS", "FAILED", "ERRORS", "REASON")
	}
	rows := [][]string{header}
	for _, item := range r.Items {
		leaf := certBrief{}
		if item.Leaf != nil {
			leaf = *item.Leaf
		}
		var roots []string
		for _, c := range item.Roots {
			roots = append(roots, c.Subject)
		}
		row := []string{item.Namespace, item.Name, string(item.State), leaf.Issuer, stamp(leaf.NotBefore), strings.Join(roots, "; ")}
		if !r.Before.IsZero() {
			row = append(row, item.Older.text())
			if wide && item.Older != nil {
				row = append(row, item.Older.Drain)
			}
		}
		if wide {
			row = append(row, string(item.ProxyKind), item.Version, leaf.Serial, stamp(leaf.NotAfter), confirmed(item), string(item.Evidence))
			row = append(append(row, counters(item)...), item.Reason)
		}
		rows = append(rows, row)
	}
	return rows
}

// counters are the sums over a proxy's upstream endpoints, "" where none were read.
func counters(item envoyItem) []string {
	if len(item.Upstreams) == 0 {
		return []string{"", "", ""}
	}
	var sum proxy.Upstream
	for _, u := range item.Upstreams {
		sum.Connections += u.Connections
		sum.ConnectFail += u.ConnectFail
		sum.Errors += u.Errors
	}
	return []string{fmt.Sprint(sum.Connections), fmt.Sprint(sum.ConnectFail), fmt.Sprint(sum.Errors)}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func confirmed(item envoyItem) string {
	if item.Leaf == nil {
		return ""
	}
	if item.LeafConfirmed {
		return "yes"
	}
	return "no"
}
