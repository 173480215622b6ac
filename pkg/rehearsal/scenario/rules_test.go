package scenario_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// rules are the facts about Istio that the table must keep true, by the numbers of
// the facts' sections, each in a few words.
func rules() map[string]string {
	return map[string]string{
		"A1": "layouts of the CA Secret", "A2": "which CA istiod takes", "A3": "what istiod asks of a CA", "A4": "leaves that outlive their CA", "A5": "cacerts beside a self-signed CA", "A6": "a bundle inside istio-ca-secret",
		"B1": "which releases watch their files", "B2": "which roots are taken in place", "B3": "what follows a reload",
		"B4": "ConfigMaps by the leader, webhooks by revision", "B5": "the flag that allows several roots, and the mesh config's roots", "B6": "what needs a restart",
		"C1": "lives of self-signed roots", "C2": "renewal with the same key", "C3": "the self-signed rotator takes what the Secret holds",
		"D1": "agents' trust files", "D2": "new leaves by push", "D3": "gateways, waypoints, machines", "D4": "answers that are split", "D5": "ztunnels",
		"E1": "/certs shows one root of a bundle", "E2": "what a proxy has loaded", "E3": "who cannot be read", "E5": "what a ztunnel has loaded", "F": "which replica has switched",
		"G-1.0.8": "sidecars before 1.0.8", "G-1.1.3": "sidecars that miss mounted certificates", "G-root-ttl": "roots of one year", "G-rotator": "releases without a rotator", "G-citadel": "Citadel's Secrets",
		"G-tls-layout": "who reads kubernetes.io/tls", "G-reload": "who reloads", "G-sha1": "SHA-1", "G-xds-root": "agents' streams and their roots", "G-multi-root": "who has the flag",
		"G-1.20.0": "push re-issues", "G-1.20.1": "agents read their roots again", "G-1.24.4": "istiods that hand out the last root only", "G-flattens": "chains in one piece",
		"G-ztunnel": "ztunnels of one root, with stale clients", "G-drops-valid-leaf": "ztunnels that drop a valid leaf", "G-incomplete-cacerts": "an incomplete cacerts", "G-cluster-trust-bundle": "the ClusterTrustBundle",
		"G-1.27.0-pre": "pre-releases that ignore a signer", "G-1.28.8": "another key identifier", "G-clamped": "leaves end with their CA", "G-file-mounted": "the second rotation of mounted files",
		"H0": "new CAs need names of their own", "H1": "what must be so before", "H2": "add trust first", "H3": "then the signer", "H4": "then remove trust", "H6": "the maintainers' sequence, and back", "S1": "the same key again", "S3": "cross-signing",
		"H5.1": "a root made anew with its key", "H5.2": "another CA in istio-ca-secret", "H5.3": "one step", "H5.4": "root and signer together", "H5.5": "cacerts to be ready", "H5.6": "a Secret that somebody else writes",
		"H5.7": "the first root that /certs shows", "H5.8": "a revision that does not follow", "H5.9": "roots in the mesh config alone",
	}
}

// outside are rules that no row can show, and why.
func outside() map[string]string {
	return map[string]string{
		"E4":                   "nothing here reads metrics of agents, nor probes pods from inside the cluster: there is no verdict that could rest on it",
		"G-stale-serving-cert": "a minute of an old serving certificate, below a root with the same key: no pair and no verdict can tell (it is named by audit-istiod-1.17.8)",
		"D3-grpc":              "proxyless gRPC has no Envoy to read: its pods are named as stragglers (pkg/check), and are no proxies here",
	}
}

// Every rule has a row, every row's rules exist, and no two rows have one name. With
// -v it prints which rows stand for a rule.
func TestRulesHaveRows(t *testing.T) {
	rows := map[string][]string{}
	names := map[string]bool{}
	for _, r := range table() {
		if names[r.name] {
			t.Errorf("two rows are called %s", r.name)
		}
		names[r.name] = true
		for _, rule := range r.facts {
			if _, ok := rules()[rule]; !ok {
				t.Errorf("row %s: there is no rule %s", r.name, rule)
			}
			rows[rule] = append(rows[rule], r.name)
		}
	}
	for _, rule := range slices.Sorted(maps.Keys(rules())) {
		if len(rows[rule]) == 0 {
			t.Errorf("rule %s (%s) has no row", rule, rules()[rule])
		}
		t.Logf("%-8s %s: %s", rule, rules()[rule], strings.Join(rows[rule], ", "))
	}
	for _, rule := range slices.Sorted(maps.Keys(outside())) {
		if len(rows[rule]) > 0 {
			t.Errorf("rule %s has rows, and is said to have none", rule)
		}
		t.Logf("%-8s has no row: %s", rule, outside()[rule])
	}
}
