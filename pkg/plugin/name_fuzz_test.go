package plugin

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"
)

// encoded is a name as it lies in a certificate, the first RDN first.
func encoded(t *testing.T, name pkix.Name) (all []string) {
	t.Helper()
	der, err := asn1.Marshal(name.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	var rdns pkix.RDNSequence
	if _, err := asn1.Unmarshal(der, &rdns); err != nil {
		t.Fatal(err)
	}
	for _, rdn := range rdns {
		all = append(all, pkix.RDNSequence{rdn}.String())
	}
	return all
}

// Each part is an RDN of its own, in the order given, as "openssl req -subj" has it.
func TestParseName(t *testing.T) {
	for text, want := range map[string]string{
		"O=Acme,CN=root G2":                  "O=Acme|CN=root G2",
		"/CN=root/O=Acme/C=DE":               "CN=root|O=Acme|C=DE",
		"OU=mesh,OU=platform,O=Acme,CN=r":    "OU=mesh|OU=platform|O=Acme|CN=r",
		"/C=DE/ST=BE/L=Berlin/O=a/OU=b/cn=c": "C=DE|ST=BE|L=Berlin|O=a|OU=b|CN=c",
		"serialNumber=7, CN = a ,O=b\\, c":   "SERIALNUMBER=7|CN=a|O=b\\, c",
		"CN=a,O=b,CN=c":                      "error: CN stands in it twice",
		"X=a":                                `error: unknown attribute "X"`,
		"O=":                                 `error: "O=" is not NAME=VALUE`,
	} {
		name, err := parseName(text)
		var got string
		if err != nil {
			got = "error: " + err.Error()
		} else {
			got = strings.Join(encoded(t, name), "|")
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

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
		common := 0
		for _, rdn := range name.ToRDNSequence() {
			if len(rdn) != 1 {
				t.Errorf("%q has an RDN of %d parts", text, len(rdn))
			}
			if rdn[0].Type.String() == "2.5.4.3" {
				common++
			}
		}
		if common > 1 {
			t.Errorf("%q has %d common names", text, common)
		}
	})
}
