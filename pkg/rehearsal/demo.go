package rehearsal

import (
	"context"
	"crypto/x509/pkix"
	"fmt"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// Demonstration is a built-in mesh and what it takes to rotate it.
type Demonstration struct {
	Name, About string
	Mesh        *Mesh
	Clock       Clock
	// OldRoot signed the mesh's CA. New is the CA to rotate to, Cross its root as
	// certified by OldRoot.
	OldRoot, New *pki.Authority
	Cross        *pki.Certificate
	// Straggler is the proxy that keeps a gate closed, "" where none does.
	Straggler string
}

// Demos are the names of the built-in meshes, the default first.
func Demos() []string { return []string{"straggler", "hot", "cold", "bad-release"} }

// AboutDemo says what a built-in mesh shows.
func AboutDemo(name string) string {
	switch name {
	case "straggler":
		return "ISTIO_MULTIROOT_MESH and PROXY_CONFIG_XDS_AGENT are on, so that new roots are pushed; one agent hangs, and the gate stays closed until its pod is replaced"
	case "hot":
		return "the same flags, and nobody hangs: seconds, no restart"
	case "cold":
		return "Istio's default flags: leaves renew on their own (every five minutes here); cross-signed, so that istiod restarts once: the wizard, which has no key of the old root, plans a bundle, and restarts it twice"
	case "bad-release":
		return "istiod 1.25.1 hands out only the last root of a bundle: refused before anything is changed"
	}
	return ""
}

// DemoSpeed is the share of real time at which a demonstration can be watched.
func DemoSpeed(name string) float64 {
	if name == "cold" {
		return 30
	}
	return 2
}

// Demo starts a built-in mesh of some 40 proxies in 6 namespaces, with two istiods
// and a gateway; "" is the default one. It lives until ctx ends.
func Demo(ctx context.Context, clock Clock, name string) (*Demonstration, error) {
	if name == "" {
		name = Demos()[0]
	}
	d := &Demonstration{Name: name, About: AboutDemo(name), Clock: clock}
	if d.About == "" {
		return nil, fmt.Errorf("there is no demonstration %q", name)
	}
	now := clock.Now()
	// The mesh is nine years old, and its root's tenth is running.
	oldRoot, old, err := authorities("2017", now.Add(-9*365*24*time.Hour))
	if err != nil {
		return nil, err
	}
	newRoot, signer, err := authorities(now.Format("2006"), now)
	if err != nil {
		return nil, err
	}
	d.OldRoot, d.New = oldRoot, signer
	if d.Cross, err = oldRoot.CrossSign(newRoot.Cert, now); err != nil {
		return nil, err
	}
	spec := Spec{CA: old, MultiRoot: true, XDSAgent: true, Release: "1.30.3", Replicas: 2, TTL: 24 * time.Hour, Lag: 2 * time.Second, Workloads: shop()}
	switch name {
	case "cold":
		spec.MultiRoot, spec.XDSAgent, spec.TTL = false, false, 10*time.Minute
	case "bad-release":
		spec.Release = "1.25.1"
	}
	if d.Mesh, err = New(ctx, clock, spec); err != nil {
		return nil, err
	}
	if name == "straggler" {
		d.Straggler = d.Mesh.Workload("payments", "ledger")[0]
		err = d.Mesh.Hang(d.Straggler)
	}
	return d, err
}

// Act does what the operator would do about the straggler, and says what that was.
func (d *Demonstration) Act() (string, error) {
	if d.Straggler == "" {
		return "", nil
	}
	done := "kubectl delete pod -n " + namespaceOf(d.Straggler) + " " + nameOf(d.Straggler)
	err := d.Mesh.Replace(d.Straggler)
	d.Straggler = ""
	return done, err
}

// Collector looks at the mesh as it would at a cluster.
func (m *Mesh) Collector() *mesh.Collector {
	return &mesh.Collector{Kube: m.Kube, Dynamic: m.Dynamic, Dialer: m, Now: m.clock.Now}
}

// Prober asks the mesh's istiods, as it would a cluster's; csr also for a throw-away
// certificate.
func (m *Mesh) Prober(csr bool) *mesh.Prober {
	return &mesh.Prober{Kube: m.Kube, Dialer: m, Now: m.clock.Now, CSR: csr}
}

func authorities(name string, at time.Time) (root, signer *pki.Authority, err error) {
	root, err = pki.NewRoot(pki.Request{Subject: pkix.Name{Organization: []string{"Demo"}, CommonName: "root " + name}, Key: pki.ECDSAP256, Now: at, PathLen: -1})
	if err != nil {
		return nil, nil, err
	}
	signer, err = root.NewIntermediate(pki.Request{Subject: pkix.Name{Organization: []string{"Demo"}, CommonName: "mesh CA " + name}, Key: pki.ECDSAP256, Now: at, Lifetime: pki.RootLifetime, PathLen: 0})
	return root, signer, err
}

// shop is a mesh as one may have.
func shop() []Workload {
	var all []Workload
	add := func(namespace, name string, proxies int) {
		all = append(all, Workload{Namespace: namespace, Name: name, Proxies: proxies})
	}
	all = append(all, Workload{Namespace: "ingress", Name: "gateway", Kind: mesh.Gateway, Proxies: 1})
	add("web", "frontend", 6)
	add("web", "session", 3)
	add("catalog", "products", 5)
	add("catalog", "search", 4)
	add("orders", "cart", 4)
	add("orders", "checkout", 3)
	add("payments", "ledger", 3)
	add("payments", "cards", 4)
	add("batch", "reports", 3)
	all = append(all, Workload{Namespace: "batch", Name: "events", Controller: "StatefulSet", Proxies: 4})
	return all
}
