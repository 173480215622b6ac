package mesh_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ktesting "k8s.io/client-go/testing"
)

// The ConfigMap of CRLs is there in every namespace from 1.27 on: what stands in it counts.
// Whether it may be read closes no gate.
func TestCRLConfigMaps(t *testing.T) {
	both := func(name string) []runtime.Object {
		return []runtime.Object{configMap("a", name, map[string]string{"ca-crl.pem": "a list"}), configMap("b", name, map[string]string{"ca-crl.pem": ""})}
	}
	for name, row := range map[string]struct {
		istiod  []corev1.EnvVar
		image   string
		objects []runtime.Object
		spoil   func(*ktesting.Fake)
		want    string // of namespaces a, b and istio-system
	}{
		"none":                {image: "1.30.3", want: "- - -"},
		"one":                 {image: "1.30.3", objects: both("istio-ca-crl"), want: "yes no -"},
		"another name":        {image: "1.30.3", istiod: env("PILOT_CRL_CONFIGMAP", "mine"), objects: both("mine"), want: "yes no -"},
		"not under that name": {image: "1.30.3", istiod: env("PILOT_CRL_CONFIGMAP", "mine"), objects: both("istio-ca-crl"), want: "- - -"},
		"1.28 knows no names": {image: "1.28.9", istiod: env("PILOT_CRL_CONFIGMAP", "mine"), objects: both("istio-ca-crl"), want: "yes no -"},
		"1.26 knows no CRL":   {image: "1.26.8", objects: both("istio-ca-crl"), want: "- - -"},
		"one by one":          {image: "1.30.3", objects: both("istio-ca-crl"), spoil: func(f *ktesting.Fake) { forbid(f, "list", "configmaps") }, want: "yes no -"},
		"forbidden": {image: "1.30.3", objects: both("istio-ca-crl"), spoil: func(f *ktesting.Fake) {
			forbid(f, "list", "configmaps")
			f.PrependReactor("get", "configmaps", func(a ktesting.Action) (bool, runtime.Object, error) {
				return a.(ktesting.GetAction).GetName() == "istio-ca-crl", nil, errors.New("forbidden")
			})
		}, want: "? ? ?"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, objects := whole(t)
			objects[0] = istiod("default", "hub/pilot:"+row.image, row.istiod...)
			c, kube := collector(nil, append(objects, row.objects...)...)
			if row.spoil != nil {
				row.spoil(&kube.Fake)
			}
			s := collect(t, c)
			if len(s.Gaps) > 0 {
				t.Errorf("%+v", s.Gaps)
			}
			var got []string
			for _, n := range s.Namespaces {
				word := map[bool]string{true: "yes", false: "no"}
				switch {
				case n.Name == "kube-system":
				case n.CRL == nil:
					got = append(got, "-")
				case n.CRL.Error != "":
					got = append(got, "?")
				default:
					got = append(got, word[n.CRL.InForce])
				}
			}
			if strings.Join(got, " ") != row.want {
				t.Errorf("%v", got)
			}
			if use := s.CRLUse(); use.InForce() != strings.Contains(row.want, "yes") || (len(use.Unread) > 0) != strings.Contains(row.want, "?") {
				t.Errorf("%+v", use)
			}
		})
	}
}

// A ztunnel that is given a file of CRLs is known to read one.
func TestZtunnelReadsCRL(t *testing.T) {
	_, _, objects := whole(t)
	objects = append(objects, running("kube-system", "ztunnel-2", map[string]string{"app": "ztunnel"}, corev1.Container{Name: "istio-proxy", Image: "hub/ztunnel:1.30.3", Env: env("CRL_PATH", "/var/run/secrets/istio/crl/ca-crl.pem")}))
	c, _ := collector(nil, objects...)
	for _, p := range collect(t, c).Proxies {
		if p.ReadsCRL != (p.Name == "ztunnel-2") {
			t.Errorf("%s: %v", p.Ref(), p.ReadsCRL)
		}
	}
	if (&mesh.Snapshot{}).CRLUse().InForce() {
		t.Error("nobody has one")
	}
}
