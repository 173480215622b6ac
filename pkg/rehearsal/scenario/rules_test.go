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
		"A1": "layouts of the CA Secret", "A2": "which CA istiod takes", "A5": "cacerts beside a self-signed CA",
		"B1": "which releases watch their files", "B2": "which roots are taken in place", "B3": "what follows a reload",
		"B4": "ConfigMaps by the leader, webhooks by revision", "B5": "the flag that allows several roots", "B6": "what needs a restart",
		"C3": "the self-signed rotator takes what the Secret holds",
		"D1": "agents' trust files", "D2": "new leaves by push", "D3": "gateways, waypoints, machines", "D4": "answers that are split", "D5": "ztunnels",
		"E2": "what a proxy has loaded", "E3": "who cannot be read", "F": "which replica has switched",
		"G-1.20.0": "push re-issues", "G-1.20.1": "agents read their roots again", "G-1.24.4": "istiods that hand out the last root only",
		"H2": "add trust first", "H3": "then the signer", "H4": "then remove trust", "S3": "cross-signing",
		"H5.2": "another CA in istio-ca-secret", "H5.3": "one step", "H5.4": "root and signer together", "H5.5": "cacerts to be ready", "H5.6": "a Secret that somebody else writes",
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
}
