package plugin

import (
	"crypto/x509/pkix"
	"testing"
)

func FuzzParseName(f *testing.F) {
	for _, text := range []string{"O=Acme,CN=root G2", "/O=Acme/CN=a\\/b", "CN=a,CN=b", "serialNumber=1", "", "CN=\\"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := parseName(text)
		if err != nil {
			return
		}
		if len(name.ToRDNSequence()) == 0 {
			t.Errorf("%q is the empty name", text)
		}
		var again pkix.Name
		rdns := name.ToRDNSequence()
		if again.FillFromRDNSequence(&rdns); again.CommonName != name.CommonName {
			t.Errorf("%q has the common name %q, and reads %q", text, name.CommonName, again.CommonName)
		}
	})
}
