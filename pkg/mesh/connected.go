package mesh

import (
	"context"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Connected is what istiods' lists of their clients tell of virtual machines. No entry is
// needed for one that only calls others (istio.io, "Virtual Machine Installation"), and
// many entries are of machines without a proxy.
type Connected struct {
	// Strangers are clients that no pod and no entry explains.
	Strangers []VM
	// Outside are the entries of machines without a proxy, where every istiod was asked and
	// has answered: nobody can be connected unseen then. One that comes later is none of them.
	Outside []VM
}

// Connected finds out who is connected besides pods. It rests on what Probe has asked, and
// on a list of pods that is younger: who has come since the Snapshot is no stranger. Where an
// istiod serves pods of other clusters too, nobody can be told from those.
func (p *Prober) Connected(ctx context.Context, s *Snapshot) (Connected, error) {
	if slices.ContainsFunc(s.Remotes, func(r Remote) bool { return r.Kind == "remote-secret" || r.Kind == "remote-istiod" }) {
		return Connected{}, nil
	}
	known := map[string]bool{}
	for _, proxy := range s.Proxies {
		known[proxy.Ref()] = true
	}
	c, complete := Connected{}, len(s.ControlPlanes) > 0 && len(s.LeftOut) == 0
	named := map[string]map[string]bool{} // by namespace
	for _, plane := range s.ControlPlanes {
		complete = complete && len(plane.Replicas) > 0
		for _, replica := range plane.Replicas {
			complete = complete && replica.Clients != nil
			for _, client := range replica.Clients {
				namespace, name, ok := strings.Cut(client.Proxy, "/")
				if !ok { // it is not known who that is
					complete = false
					continue
				}
				if known[client.Proxy] {
					continue
				}
				if named[namespace] == nil {
					named[namespace] = map[string]bool{}
				}
				named[namespace][name] = true
			}
		}
	}
	for _, namespace := range slices.Sorted(maps.Keys(named)) {
		names := named[namespace]
		err := pages(func(o metav1.ListOptions) (string, error) {
			page, err := p.Kube.CoreV1().Pods(namespace).List(ctx, o)
			if err != nil {
				return "", err
			}
			for i := range page.Items {
				delete(names, page.Items[i].Name)
			}
			return page.Continue, nil
		}, metav1.ListOptions{}, func() {})
		if err != nil {
			return Connected{}, err
		}
		// What a machine calls itself is not what its entry is called: they can only be counted.
		registered := 0
		for _, vm := range s.VMs {
			if vm.Namespace == namespace && !vm.Plain {
				registered++
			}
		}
		all := slices.Sorted(maps.Keys(names))
		for _, name := range all[min(registered, len(all)):] {
			c.Strangers = append(c.Strangers, VM{Namespace: namespace, Name: name, Connected: true, Unregistered: true})
		}
	}
	for _, vm := range s.VMs {
		if complete && vm.Plain {
			c.Outside = append(c.Outside, vm)
		}
	}
	return c, nil
}

// Unexplained says of a virtual machine that nothing in the cluster names it, "" of any other.
func (vm VM) Unexplained() string {
	if vm.Unregistered {
		return "it is connected to istiod, and neither a pod nor a WorkloadEntry has its name: "
	}
	return ""
}

// Settle leaves out the entries of machines outside the mesh, and adds the strangers.
func (c Connected) Settle(s *Snapshot) {
	s.VMs = slices.DeleteFunc(s.VMs, func(vm VM) bool { return slices.Contains(c.Outside, vm) })
	for _, stranger := range c.Strangers {
		if !slices.Contains(s.VMs, stranger) {
			s.VMs = append(s.VMs, stranger)
		}
	}
}
