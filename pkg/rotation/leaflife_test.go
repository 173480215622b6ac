package rotation

import (
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
)

// A virtual machine may have asked for as much as istiods allow, and nobody sees what
// it got.
func TestLeafLife(t *testing.T) {
	const day = 24 * time.Hour
	plane := func(most time.Duration) mesh.ControlPlane {
		return mesh.ControlPlane{Flags: mesh.Flags{MaxWorkloadTTL: mesh.Duration(most)}}
	}
	proxies := []mesh.Proxy{{SecretTTL: mesh.Duration(time.Hour)}}
	vms := []mesh.VM{{Namespace: "a", Name: "vm"}}
	for _, row := range []struct {
		name string
		s    mesh.Snapshot
		told time.Duration
		want time.Duration
	}{
		{"pods alone", mesh.Snapshot{Proxies: proxies, ControlPlanes: []mesh.ControlPlane{plane(90 * day)}}, 0, time.Hour},
		{"nothing is known", mesh.Snapshot{}, 0, day},
		{"a virtual machine", mesh.Snapshot{Proxies: proxies, VMs: vms, ControlPlanes: []mesh.ControlPlane{plane(30 * day)}}, 0, 30 * day},
		{"two istiods", mesh.Snapshot{Proxies: proxies, VMs: vms, ControlPlanes: []mesh.ControlPlane{plane(day), plane(7 * day)}}, 0, 7 * day},
		{"istiods whose limit is not known", mesh.Snapshot{Proxies: proxies, VMs: vms, ControlPlanes: []mesh.ControlPlane{plane(day), plane(0)}}, 0, 90 * day},
		{"no istiod", mesh.Snapshot{VMs: vms}, 0, 90 * day},
		{"a virtual machine whose life is told", mesh.Snapshot{Proxies: proxies, VMs: vms, ControlPlanes: []mesh.ControlPlane{plane(90 * day)}}, 2 * day, 2 * day},
		{"told, and pods ask for more", mesh.Snapshot{Proxies: proxies, VMs: vms, ControlPlanes: []mesh.ControlPlane{plane(90 * day)}}, time.Minute, time.Hour},
		{"told, and there is none", mesh.Snapshot{Proxies: proxies}, 2 * day, time.Hour},
	} {
		if got := leafLife(&row.s, vmLife(&row.s, row.told)); got != row.want {
			t.Errorf("%s: %s, not %s", row.name, got, row.want)
		}
	}
}
