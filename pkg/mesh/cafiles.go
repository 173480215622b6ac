package mesh

import (
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// chartCADir is where the charts mount the Secret cacerts, and where istiod looks unless
// ROOT_CA_DIR says otherwise (istio 1.30.3 pilot/pkg/bootstrap/istio_ca.go:83).
const chartCADir = "/etc/cacerts"

// caFiles says where the CA's files of an istiod come from, "" where that is the Secret
// cacerts as the charts mount it, or where a template does not show it. A store's CSI
// driver, another Secret or other names of its entries are nothing that could be written
// here; and an istio-ca-secret beside them is no sign of what signs.
func (c *ControlPlane) caFiles(spec corev1.PodSpec) string {
	dir := path.Clean("/" + strings.TrimPrefix(c.Flags.RootCADir, "."))
	mounted := ""
	for _, m := range c.container.VolumeMounts {
		if path.Clean(m.MountPath) == dir && m.SubPath == "" && m.SubPathExpr == "" {
			mounted = m.Name
		}
	}
	for _, v := range spec.Volumes {
		switch {
		case v.Name != mounted || mounted == "":
		case v.Secret != nil && v.Secret.SecretName == pluggedSecret && len(v.Secret.Items) == 0:
			return ""
		case v.Secret != nil && v.Secret.SecretName == pluggedSecret:
			return "the Secret " + c.Namespace + "/" + pluggedSecret + ", whose entries it mounts under other names"
		case v.Secret != nil:
			return "the Secret " + c.Namespace + "/" + v.Secret.SecretName
		case v.CSI != nil:
			return fmt.Sprintf("its volume %s (CSI driver %s)", v.Name, v.CSI.Driver)
		default:
			return "its volume " + v.Name
		}
	}
	if dir != chartCADir {
		return dir + " (ROOT_CA_DIR)"
	}
	return ""
}
