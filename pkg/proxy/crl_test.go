package proxy_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

// An Envoy shows what it read of the agent's file of CRLs, and an empty file is none: every
// sidecar of Istio 1.27 and later has one.
func TestParseSecretsCRL(t *testing.T) {
	root, leaf := certificate(t), certificate(t)
	whole := string(dump(leaf.PEM(), root.PEM()))
	text := base64.StdEncoding.EncodeToString([]byte("a list\n"))
	with := func(crl string) string {
		return strings.Replace(whole, `"trusted_ca"`, `"crl":`+crl+`,"trusted_ca"`, 1)
	}
	for name, row := range map[string]struct {
		raw         string
		has, known  bool
		refusedText string
	}{
		"none":                {raw: whole},
		"empty":               {raw: with(`{"inline_bytes":""}`)},
		"nothing in it":       {raw: with(`{}`)},
		"inline":              {raw: with(`{"inline_bytes":"` + text + `"}`), has: true, known: true},
		"as text":             {raw: with(`{"inline_string":"a list\n"}`), has: true, known: true},
		"a file not read yet": {raw: with(`{"filename":"/var/run/secrets/istio/crl/ca-crl.pem"}`), has: true},
		"no base64":           {raw: with(`{"inline_bytes":"?"}`), refusedText: "the CRL of secret"},
		"twice, the same":     {raw: with(`{"inline_bytes":"` + text + `"}`)[:len(with(`{"inline_bytes":"`+text+`"}`))-2] + "," + strings.TrimPrefix(with(`{"inline_bytes":"`+text+`"}`), `{"configs":[`), has: true, known: true},
		"twice, another":      {raw: with(`{"inline_bytes":"` + text + `"}`)[:len(with(`{"inline_bytes":"`+text+`"}`))-2] + "," + strings.TrimPrefix(whole, `{"configs":[`), refusedText: "not with the same CRL"},
	} {
		t.Run(name, func(t *testing.T) {
			loaded, err := proxy.ParseSecrets([]byte(row.raw), clock)
			if row.refusedText != "" {
				if err == nil || !strings.Contains(err.Error(), row.refusedText) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			crls := loaded.Identities[0].CRLs
			if (crls != nil) != row.has || crls != nil && (crls.Unknown() == nil) != row.known {
				t.Errorf("it has %+v", crls)
			}
		})
	}
}
