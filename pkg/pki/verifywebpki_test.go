package pki_test

import (
	"encoding/asn1"
	"encoding/hex"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/test/envoys/pairs"
)

// rustls-webpki 0.103.17 refused dates before 1970, and an ECDSA signature that is named
// with parameters; Envoy and Go take them. An RSA signature without them is not judged.
func TestWhatWebpkiDoesNotRead(t *testing.T) {
	ends := []byte("\x17\x0d301231235959Z")
	from := func(date string) func(*pairs.Cert) {
		return func(c *pairs.Cert) {
			c.Edit = func(parts []asn1.RawValue) []asn1.RawValue {
				body := append([]byte(date), ends...)
				parts[4] = asn1.RawValue{FullBytes: append([]byte{0x30, byte(len(body))}, body...)}
				return parts
			}
		}
	}
	algorithm := func(digits string) func(*pairs.Cert) {
		raw, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		return func(c *pairs.Cert) {
			c.Outer = raw
			c.Edit = func(parts []asn1.RawValue) []asn1.RawValue {
				parts[2] = asn1.RawValue{FullBytes: raw}
				return parts
			}
		}
	}
	for name, test := range map[string]struct {
		change func(*pairs.Cert)
		rsa    bool
		want   pki.Result
	}{
		"from 1601":                      {from("\x18\x0f16010101000000Z"), false, pki.Refused},
		"from 1950":                      {from("\x17\x0d500101000000Z"), false, pki.Refused},
		"from 1970":                      {from("\x17\x0d700101000000Z"), false, pki.Accepted},
		"ECDSA with NULL for parameters": {algorithm("300c06082a8648ce3d0403020500"), false, pki.Refused},
		"ECDSA without parameters":       {algorithm("300a06082a8648ce3d040302"), false, pki.Accepted},
		"RSA with NULL for parameters":   {algorithm("300d06092a864886f70d01010b0500"), true, pki.Accepted},
		"RSA without parameters":         {algorithm("300b06092a864886f70d01010b"), true, pki.Depends},
	} {
		for _, place := range []string{"intermediate", "leaf"} {
			t.Run(name+": "+place, func(t *testing.T) {
				root := &pairs.Cert{DN: "root"}
				between := &pairs.Cert{DN: "between", By: root}
				leaf := pairs.Leaf(between)
				if test.rsa {
					root.Key, between.Key = pairs.RSA(0), pairs.RSA(1)
				}
				if place == "leaf" {
					test.change(leaf)
				} else {
					test.change(between)
				}
				p := maker(1).Pair("", []*pairs.Cert{root}, leaf, between)
				if got := pki.Verify(p.Question(pki.Webpki, pki.ClientAuth, clock)); got.Result != test.want {
					t.Errorf("%s (%s), want %s", got.Result, got.Reason, test.want)
				}
				if got := pki.Verify(p.Question(pki.Envoy, pki.ClientAuth, clock)); got.Result != pki.Accepted {
					t.Errorf("Envoy: %s (%s)", got.Result, got.Reason)
				}
			})
		}
	}
}
