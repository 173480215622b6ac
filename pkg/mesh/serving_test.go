package mesh_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// An istiod prefers a certificate that it is given to one of its CA: by its arguments, or
// by files in the place that the charts mount the Secret istiod-tls at.
func TestServingCertificateOfItsOwn(t *testing.T) {
	root := newAuthority(t, "root", nil)
	ca := newAuthority(t, "ca", root)
	tls := map[string][]byte{"tls.crt": ca.pem, "tls.key": ca.key, "ca.crt": root.pem}
	yes := true
	optional := corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "istiod-tls", Optional: &yes}}
	demanded := corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "istiod-tls"}}
	for name, row := range map[string]struct {
		release string
		volume  *corev1.VolumeSource
		args    []string
		secret  map[string][]byte
		forbid  bool
		skip    bool
		own     string
		unread  bool
	}{
		"nothing is mounted":             {secret: tls},
		"none is there":                  {volume: &optional},
		"the charts' Secret":             {volume: &optional, secret: tls, own: "istio-system/istiod-tls"},
		"one without a key":              {volume: &optional, secret: map[string][]byte{"tls.crt": ca.pem}},
		"an istiod that does not look":   {release: "1.15.7", volume: &optional, secret: tls},
		"one that a pod needs to start":  {volume: &demanded, skip: true, own: "istio-system/istiod-tls"},
		"a volume of another kind":       {volume: &corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "csi.cert-manager.io"}}, own: "/var/run/secrets/istiod/tls"},
		"one that may not be read":       {volume: &optional, secret: tls, forbid: true, unread: true},
		"Secrets are not to be read":     {volume: &optional, secret: tls, skip: true},
		"arguments":                      {args: []string{"--tlsCertFile=/x/tls.crt", "--tlsKeyFile", "/x/tls.key", "--caCertFile=/x/ca.crt"}, own: "--tlsCertFile"},
		"an argument that is not enough": {args: []string{"--tlsCertFile=/x/tls.crt", "--caCertFile=/x/ca.crt"}},
		"arguments that are empty":       {args: []string{"--tlsCertFile=", "--tlsKeyFile=", "--caCertFile="}},
	} {
		t.Run(name, func(t *testing.T) {
			release := row.release
			if release == "" {
				release = "1.30.3"
			}
			d := istiod("default", "hub/pilot:"+release)
			spec := &d.Spec.Template.Spec
			spec.Containers[0].Args = append([]string{"discovery"}, row.args...)
			if row.volume != nil {
				spec.Volumes = []corev1.Volume{{Name: "own", VolumeSource: *row.volume}}
				spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "own", MountPath: "/var/run/secrets/istiod/tls", ReadOnly: true}}
			}
			objects := []runtime.Object{d, replica(d, "x"), secret("cacerts", plugged(root, ca))}
			if row.secret != nil {
				objects = append(objects, secret("istiod-tls", row.secret))
			}
			c, kube := collector(nil, objects...)
			if c.NoSecrets = row.skip; row.forbid {
				forbid(&kube.Fake, "get", "secrets")
			}
			s := collect(t, c)
			own := s.ControlPlanes[0].OwnTLS
			if (own == "") != (row.own == "") || !strings.Contains(own, row.own) {
				t.Errorf("it serves its own by %q", own)
			}
			said := slices.ContainsFunc(s.Beside, func(g mesh.Gap) bool { return strings.Contains(g.Part, "istiod-tls") })
			if said != row.unread {
				t.Errorf("that it could not be read is said: %t, %+v", said, s.Beside)
			}
		})
	}
}
