package mesh

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// servingFiles is where istiod looks for a certificate to serve before it has its CA make
// one, since 1.16.0 (istio 1.30.3 pkg/config/constants/constants.go:27,
// pilot/pkg/bootstrap/server.go:1127, hasCustomTLSCerts). The charts always mount the
// Secret istiod-tls there, where it exists: istio-csr's, or what is left of it.
const servingFiles = "/var/run/secrets/istiod/tls"

// serves reads from a pod's template whether istiod has a serving certificate of its own;
// of a Secret that need not be there it keeps the name, and ownServing asks for it.
func (c *ControlPlane) serves(spec corev1.PodSpec) {
	if given := []string{"--tlsCertFile", "--tlsKeyFile", "--caCertFile"}; !slices.ContainsFunc(given, func(name string) bool { return argument(c.container, name) == "" }) {
		c.OwnTLS = "its arguments (" + strings.Join(given, ", ") + ")"
		return
	}
	if Before(c.Version, "1.16.0") {
		return
	}
	for _, m := range c.container.VolumeMounts {
		i := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if strings.TrimRight(m.MountPath, "/") != servingFiles || i < 0 {
			continue
		}
		switch v := spec.Volumes[i]; {
		case v.EmptyDir != nil:
		case v.Secret == nil:
			c.OwnTLS = "the volume at " + servingFiles
		case v.Secret.Optional == nil || !*v.Secret.Optional:
			c.OwnTLS = "the Secret " + c.Namespace + "/" + v.Secret.SecretName
		default:
			c.serving = v.Secret.SecretName
		}
	}
}

// argument is the value of a container's flag, as --name=value or in two words.
func argument(container *corev1.Container, name string) (value string) {
	words := slices.Concat(container.Command, container.Args)
	for i, word := range words {
		if v, ok := strings.CutPrefix(word, name+"="); ok {
			value = v
		} else if word == name && i+1 < len(words) {
			value = words[i+1]
		}
	}
	return value
}

// ownServing asks whether the Secrets are there that istiods would serve by. Where one may
// not be read nothing says so, and what is served is taken for what the CA has made.
func (g *gatherer) ownServing(ctx context.Context) {
	for i := range g.s.ControlPlanes {
		plane := &g.s.ControlPlanes[i]
		if plane.serving == "" || g.NoSecrets {
			continue
		}
		secret, err := g.Kube.CoreV1().Secrets(plane.Namespace).Get(ctx, plane.serving, metav1.GetOptions{})
		switch name := plane.Namespace + "/" + plane.serving; {
		case apierrors.IsNotFound(err):
		case err != nil:
			g.beside("secret "+name, "get", "secrets", plane.Namespace, err)
		case len(secret.Data[corev1.TLSCertKey]) > 0 && len(secret.Data[corev1.TLSPrivateKeyKey]) > 0:
			plane.OwnTLS = "the Secret " + name
		}
	}
}
