package mesh_test

import (
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
)

// An istiod's own renewal of its root: when, and how the new root names its key; of a
// plugged CA nothing.
func TestIstiodRootRenewal(t *testing.T) {
	usual := mesh.RootRenewal{Every: mesh.Duration(time.Hour), Percent: 20, KeyID: mesh.KeyIDBySHA1}
	newer := usual
	newer.KeyID = mesh.KeyIDBySHA256
	unknown := usual
	unknown.KeyID = ""
	never := newer
	never.Every = 0
	for name, test := range map[string]struct {
		release string
		env     []corev1.EnvVar
		plugged bool
		want    *mesh.RootRenewal
	}{
		"1.7.8":             {release: "1.7.8", want: &unknown},
		"1.8.0":             {release: "1.8.0", want: &usual},
		"1.27.9":            {release: "1.27.9", want: &usual},
		"1.28.7":            {release: "1.28.7", want: &usual},
		"1.28.8":            {release: "1.28.8", want: &newer},
		"1.29.0":            {release: "1.29.0", want: &newer},
		"told the old way":  {release: "1.30.3", env: env("GODEBUG", "http2client=0,x509sha256skid=0"), want: &usual},
		"told something":    {release: "1.30.3", env: env("GODEBUG", "http2client=0"), want: &newer},
		"told never":        {release: "1.30.3", env: env("CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL", "0"), want: &never},
		"release not known": {release: "latest", want: &newer},
		"plugged":           {release: "1.30.3", plugged: true},
	} {
		t.Run(name, func(t *testing.T) {
			root := newAuthority(t, "root", nil)
			d := istiod("default", "hub/pilot:"+test.release, test.env...)
			ca := secret("istio-ca-secret", selfSigned(root))
			if test.plugged {
				ca = secret("cacerts", plugged(root, newAuthority(t, "ca", root)))
			}
			c, _ := collector(nil, d, replica(d, "x"), ca)
			got := collect(t, c).ControlPlanes[0].RootRenewal
			if (got == nil) != (test.want == nil) || got != nil && *got != *test.want {
				t.Errorf("%+v", got)
			}
		})
	}
}

// Whether the root that follows names its key as this one does.
func TestOtherKeyID(t *testing.T) {
	root := newAuthority(t, "root", nil).cert
	ids := map[mesh.KeyIDHash]bool{}
	for _, hash := range []mesh.KeyIDHash{mesh.KeyIDBySHA1, mesh.KeyIDBySHA256, ""} {
		ids[hash] = mesh.RootRenewal{KeyID: hash}.OtherKeyID(root)
	}
	// Go has named the key of this one, by the hash of the Go that runs.
	if ids[mesh.KeyIDBySHA1] == ids[mesh.KeyIDBySHA256] || ids[""] {
		t.Errorf("of a key identifier of %d bytes: %v", len(root.X509.SubjectKeyId), ids)
	}
}
