package mesh_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"
)

func TestConnected(t *testing.T) {
	clients := func(all ...string) []proxy.Client {
		list := []proxy.Client{}
		for _, name := range all {
			list = append(list, proxy.Client{Proxy: name})
		}
		return list
	}
	database := mesh.VM{Namespace: "vms", Name: "database", Plain: true}
	registered := mesh.VM{Namespace: "vms", Name: "batch-10.0.0.1", Connected: true}
	legacy := mesh.VM{Namespace: "vms", Name: "legacy", Connected: true, Unregistered: true}
	for name, test := range map[string]struct {
		replicas []mesh.Istiod
		vms      []mesh.VM
		remotes  []mesh.Remote
		leftOut  []string
		want     []mesh.VM
		complete bool
	}{
		"pods alone":                     {[]mesh.Istiod{{Clients: clients("a/p")}}, nil, nil, nil, nil, true},
		"a pod that has come since":      {[]mesh.Istiod{{Clients: clients("a/p", "a/later")}}, nil, nil, nil, nil, true},
		"nobody has an entry":            {[]mesh.Istiod{{Clients: clients("a/p")}, {Clients: clients("vms/legacy")}}, nil, nil, nil, []mesh.VM{legacy}, true},
		"by two istiods":                 {[]mesh.Istiod{{Clients: clients("vms/legacy")}, {Clients: clients("vms/legacy")}}, nil, nil, nil, []mesh.VM{legacy}, true},
		"as many entries as machines":    {[]mesh.Istiod{{Clients: clients("vms/host-1")}}, []mesh.VM{registered}, nil, nil, []mesh.VM{registered}, true},
		"one more than entries":          {[]mesh.Istiod{{Clients: clients("vms/host-1", "vms/legacy")}}, []mesh.VM{registered}, nil, nil, []mesh.VM{registered, legacy}, true},
		"an entry without a proxy":       {[]mesh.Istiod{{Clients: clients("a/p")}}, []mesh.VM{database}, nil, nil, nil, true},
		"and a machine without an entry": {[]mesh.Istiod{{Clients: clients("vms/legacy")}}, []mesh.VM{database}, nil, nil, []mesh.VM{legacy}, true},
		"not asked":                      {[]mesh.Istiod{{}}, []mesh.VM{database}, nil, nil, []mesh.VM{database}, false},
		"one does not answer":            {[]mesh.Istiod{{Clients: clients()}, {ClientsError: "404"}}, []mesh.VM{database}, nil, nil, []mesh.VM{database}, false},
		"one cannot be read":             {[]mesh.Istiod{{Clients: []proxy.Client{{Unread: "x"}}}}, []mesh.VM{database}, nil, nil, []mesh.VM{database}, false},
		"pods of other clusters":         {[]mesh.Istiod{{Clients: clients("far/away")}}, []mesh.VM{database}, []mesh.Remote{{Kind: "remote-secret", Name: "west"}}, nil, []mesh.VM{database}, false},
		"a gateway for machines":         {[]mesh.Istiod{{Clients: clients("vms/legacy")}}, nil, []mesh.Remote{{Kind: "east-west-gateway", Name: "east"}}, nil, []mesh.VM{legacy}, true},
		"an istiod is left out":          {[]mesh.Istiod{{Clients: clients("a/p")}}, []mesh.VM{database}, nil, []string{"i/istiod-old"}, []mesh.VM{database}, false},
		"no istiod":                      {nil, []mesh.VM{database}, nil, nil, []mesh.VM{database}, false},
	} {
		t.Run(name, func(t *testing.T) {
			kube := fake.NewClientset(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "later"}})
			s := &mesh.Snapshot{
				ControlPlanes: []mesh.ControlPlane{{Namespace: "i", Name: "istiod", Replicas: test.replicas}},
				Proxies:       []mesh.Proxy{{Namespace: "a", Name: "p"}}, VMs: slices.Clone(test.vms), Remotes: test.remotes, LeftOut: test.leftOut,
			}
			c, err := (&mesh.Prober{Kube: kube}).Connected(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			if outside := len(c.Outside) > 0; outside != (test.complete && slices.Contains(test.vms, database)) {
				t.Errorf("outside are %+v", c.Outside)
			}
			c.Settle(s)
			c.Settle(s) // of the same looks
			if !slices.Equal(s.VMs, test.want) {
				t.Errorf("%+v", s.VMs)
			}
			later := mesh.VM{Namespace: "vms", Name: "later", Plain: true}
			s.VMs = append(s.VMs, later)
			if c.Settle(s); !slices.Contains(s.VMs, later) {
				t.Error("nobody knows who is connected from an entry that has come since, and it is left out")
			}
		})
	}
	kube := fake.NewClientset()
	kube.PrependReactor("list", "pods", func(ktesting.Action) (bool, runtime.Object, error) { return true, nil, errors.New("away") })
	s := &mesh.Snapshot{ControlPlanes: []mesh.ControlPlane{{Replicas: []mesh.Istiod{{Clients: clients("vms/legacy")}}}}}
	if c, err := (&mesh.Prober{Kube: kube}).Connected(t.Context(), s); err == nil || c.Outside != nil {
		t.Errorf("pods cannot be listed, and it is %+v", c)
	}
}
