package tui

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/meshca/kubectl-meshca/pkg/rotation/traffic"
)

// scripted is a Backend that says what it was given.
type scripted struct {
	seen *Look
	plan *rotation.Plan
	err  error
}

func (b scripted) Look(context.Context, func(int, int)) (*Look, error)        { return b.seen, b.err }
func (b scripted) Plan(context.Context, Choice) (*rotation.Plan, error)       { return b.plan, b.err }
func (b scripted) Rotate(context.Context, Choice, func(rotation.Event)) error { return nil }
func (b scripted) Steer(context.Context, Order) error                         { return nil }
func (b scripted) Command(Choice) string                                      { return "kubectl meshca rotate" }
func (b scripted) Save(context.Context, string, string) (string, error) {
	return "", errors.New("the disk is full")
}

func noon() time.Time { return time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC) }

// escape is what a hostile name may hold; it must not reach a frame.
const escape = "\x1b]0;owned\a\x1b[2J\u202e"

func fixture(proxies int) *Look {
	l := &Look{
		At: noon(), Cluster: "prod-eu-1", Namespace: "istio-system", Verdict: "1 error, 1 warning; 34 checks passed, 1 could not be made, 2 had nothing to look at: failed",
		Check: check.Report{
			Ends: []check.End{{Role: "root", Subject: "CN=mesh root 2017,O=Acme", NotAfter: noon().Add(23 * 24 * time.Hour), Days: 23}, {Role: "signer", Subject: "CN=mesh CA 2024,O=Acme", NotAfter: noon().Add(300 * 24 * time.Hour), Days: 300}},
			Findings: []check.Finding{
				{ID: "ca-weak-key", Category: check.CA, Severity: pki.SeverityWarning, Object: "secret istio-system/cacerts", Message: "the root's key is RSA of 1024 bits", Hint: "rotate to a new root"},
				{ID: "proxy-expired", Category: check.Proxies, Severity: pki.SeverityError, Object: "proxy payments/ledger-7d9c6b5f4-x2x8l", Message: "its certificate has expired" + escape, Hint: "is its agent alive? kubectl logs -n payments ledger-7d9c6b5f4-x2x8l -c istio-proxy"},
			},
			Passed:  []string{"ca-key-matches"},
			Skipped: []check.Skip{{Rule: "webhooks", Category: check.Trust, Why: "webhooks could not be read", Unknown: true}},
		},
		Proof: Proof{
			Roots: []string{"CN=mesh root 2017,O=Acme  3fa1b2c4"},
			Status: rotation.Status{Replicas: rotation.Count{Ready: 2, Of: 2}, ConfigMaps: rotation.Count{Ready: 13, Of: 14}, Webhooks: rotation.Count{Ready: 3, Of: 3}, Proxies: rotation.Count{Ready: 96, Of: 98}, Evidence: "chain served on 15012",
				Blockers: []rotation.Blocker{{Kind: "configmap", Object: "search/istio-ca-root-cert", Why: "it is immutable and holds other roots"}, {Kind: "proxy", Object: "payments/ledger-7d9c6b5f4-x2x8l", Why: "unreadable: dial 15000: connection refused", Unknown: true}}},
			Classes: []check.Class{{Name: "A", Kind: mesh.Sidecar, Proxies: []string{"web/a", "web/b"}, Signer: "CN=mesh CA 2024", Trusts: []string{"CN=mesh root 2017"}}, {Name: "B", Kind: mesh.Gateway, Proxies: []string{"vm/old"}, Signer: "CN=other", Trusts: []string{"CN=other root"}}},
			Pairs: []check.Pair{{Client: "A", Server: "A", Answer: pki.Answer{Result: pki.Accepted}}, {Client: "A", Server: "B", By: "server", Answer: pki.Answer{Result: pki.Refused, Reason: "no trusted issuer"}},
				{Client: "B", Server: "A", By: "server", Answer: pki.Answer{Result: pki.Refused, Reason: "no trusted issuer"}}, {Client: "B", Server: "B", Answer: pki.Answer{Result: pki.Accepted}}},
		},
	}
	for i := range proxies {
		namespace := []string{"checkout", "payments", "search", "web"}[i%4]
		name := fmt.Sprintf("%s-api-7d9c6b5f4-%05d", namespace, i)
		e := Envoy{Namespace: namespace, Name: name, Kind: string(mesh.Sidecar), Version: "1.30.3", State: "read", Evidence: "config_dump", Confirmed: true, SPIFFE: "spiffe://cluster.local/ns/" + namespace + "/sa/default",
			Serial: fmt.Sprintf("%032x", i+0xabcdef), Issuer: "CN=mesh CA 2024,O=Acme", NotBefore: noon().Add(-time.Duration(i%24) * time.Hour), NotAfter: noon().Add(24 * time.Hour), Roots: []string{"CN=mesh root 2017,O=Acme"}, LeafUpdated: noon().Add(-time.Duration(i%24) * time.Hour), RootsUpdated: noon().Add(-time.Hour)}
		if i%50 == 7 {
			e = Envoy{Namespace: namespace, Name: name, Kind: string(mesh.Sidecar), State: "unreadable", Reason: "dial 15000: connection refused" + escape}
		}
		l.Envoys = append(l.Envoys, e)
		verdict, release := "ok", "1.30.3"
		if namespace == "search" {
			verdict, release = "error", "1.25.1"
		}
		l.Versions = append(l.Versions, Version{Namespace: namespace, Name: name, Kind: "sidecar", Revision: "1-30", Release: release, From: "image tag", Verdict: verdict})
	}
	return l
}

func fixturePlan() *rotation.Plan {
	return &rotation.Plan{
		ID: "3f1a9c22b0", Strategy: rotation.CrossSign, Why: "the old root vouches for the new one: no flags, no restart of workloads",
		Options: []rotation.Option{{Strategy: rotation.HotBundle, Why: "istio-system/istiod runs without ISTIO_MULTIROOT_MESH: it refuses a changed root until it restarts"}, {Strategy: rotation.CrossSign, Possible: true, Why: "the old root vouches for the new one: no flags, no restart of workloads"}},
		OldRoot: rotation.Brief{Subject: "CN=mesh root 2017,O=Acme", NotAfter: noon().Add(23 * 24 * time.Hour)}, NewRoot: rotation.Brief{Subject: "CN=mesh root 2026,O=Acme", NotAfter: noon().Add(3650 * 24 * time.Hour)},
		NewSigner: rotation.Brief{Subject: "CN=mesh CA 2026,O=Acme", NotAfter: noon().Add(1825 * 24 * time.Hour)},
		Steps:     []rotation.Step{{Phase: rotation.SignNew, Name: "cross-signed chain", About: "every proxy has a certificate of the new CA, for which the old root vouches"}, {Phase: rotation.SwapTrust, Name: "new root", About: "every proxy trusts the new root instead of the old", Restart: true}, {Phase: rotation.DropCross, Name: "plain chain", About: "istiods send the cross certificate no more"}},
		Back:      []rotation.Step{{Phase: rotation.SwapTrust, About: "every certificate comes with the old root's word again"}, {Phase: rotation.SignNew, About: "every proxy trusts the old root; the new CA still signs", Restart: true}, {Phase: rotation.Prepare, About: "the old CA is the mesh's alone, as before"}},
		Cost:      rotation.Cost{IstiodRestarts: 2, LongestWait: 24 * time.Hour, FileWaits: 4 * time.Minute, Lagging: []string{"web/batch-0"}},
	}
}

// fixtureEvents are a rotation up to a gate that is closed.
func fixtureEvents() []rotation.Event {
	at := func(s int) time.Time { return noon().Add(time.Duration(s-42) * time.Second) }
	status := &rotation.Status{Replicas: rotation.Count{Ready: 2, Of: 2}, ConfigMaps: rotation.Count{Ready: 14, Of: 14}, Webhooks: rotation.Count{Ready: 3, Of: 3}, Proxies: rotation.Count{Ready: 110, Of: 136},
		Namespaces: []rotation.Progress{{Namespace: "checkout", Proxies: 40, Ready: 24, Unreadable: 1}, {Namespace: "payments", Proxies: 84, Ready: 84}, {Namespace: "search", Proxies: 12, Ready: 2}},
		Blockers:   []rotation.Blocker{{Kind: "proxy", Object: "checkout/cart-7f9c4-x2x8l", Why: "unreadable: dial 15000: connection refused" + escape, Unknown: true}, {Kind: "proxy", Object: "search/index-0", Why: "its certificate is signed by CN=mesh CA 2024,O=Acme"}}}
	return []rotation.Event{
		{Time: at(0), Kind: rotation.EventPhase, Phase: rotation.Prepare, Message: "nothing is changed yet: is the mesh whole?"},
		{Time: at(2), Kind: rotation.EventPassed, Phase: rotation.Prepare, Message: "proven: 136 of 136 proxies, 2 of 2 istiods"},
		{Time: at(3), Kind: rotation.EventWrite, Phase: rotation.Prepare, Object: "secret istio-system/meshca-staged", Message: "old and new CA are kept beside the CA Secret"},
		{Time: at(3), Kind: rotation.EventPhase, Phase: rotation.SignNew, Step: "cross-signed chain", Message: "every proxy has a certificate of the new CA, for which the old root vouches"},
		{Time: at(4), Kind: rotation.EventWrite, Phase: rotation.SignNew, Step: "cross-signed chain", Object: "secret istio-system/cacerts", Message: "cross-signed chain"},
		{Time: at(38), Kind: KindTraffic, Traffic: &traffic.Verdict{Until: at(38), Counted: traffic.Counters{Connections: 12431, ConnectFail: 2, Requests: 310207, Errors: 14}, Unread: []string{"checkout/cart-7f9c4-x2x8l"}}},
		{Time: at(40), Kind: rotation.EventGate, Phase: rotation.SignNew, Step: "cross-signed chain", Gate: status, Message: "110 of 136 proxies"},
	}
}
