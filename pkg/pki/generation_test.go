package pki_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/test/envoys/pairs"
)

// A root of several generations signs with the one that is valid and ends last,
// wherever it stands.
func TestGeneration(t *testing.T) {
	m := maker(1)
	first := pairs.Cert{DN: "root", From: -3 * time.Hour, To: -time.Hour}
	ended := m.Make(&first)
	again := func(from, to time.Duration, change func(*pairs.Cert)) *pki.Certificate {
		c := pairs.Cert{DN: "root", Key: first.Key, From: from, To: to}
		if change != nil {
			change(&c)
		}
		return m.Make(&c)
	}
	now, later, noCA := again(-2*time.Hour, long, nil), again(time.Hour, 3*long, nil), again(0, 4*long, func(c *pairs.Cert) { c.BC = pairs.BCFalse })
	brief := again(-2*time.Hour, time.Hour, nil)
	other := m.Make(&pairs.Cert{DN: "other", To: 5 * long})
	broken := pki.NewCertificate([]byte("x"))
	for name, test := range map[string]struct {
		certs []*pki.Certificate
		want  *pki.Certificate
		err   string
	}{
		"one":                    {[]*pki.Certificate{now}, now, ""},
		"the ended before it":    {[]*pki.Certificate{broken, other, ended, now}, now, ""},
		"the ended behind it":    {[]*pki.Certificate{now, ended, other}, now, ""},
		"the first ends earlier": {[]*pki.Certificate{brief, now}, now, ""},
		"the last ends earlier":  {[]*pki.Certificate{now, brief}, now, ""},
		"others end last":        {[]*pki.Certificate{other, later, noCA, now}, now, ""},
		"the ended alone":        {[]*pki.Certificate{ended}, ended, ""}, // whoever uses it says so
		"none of its key":        {[]*pki.Certificate{other, broken}, nil, pki.ErrNotOfKey.Error()},
		"nothing":                {nil, nil, pki.ErrNotOfKey.Error()},
		"not yet valid":          {[]*pki.Certificate{later}, nil, "CN=root is not valid before"},
		"no CA":                  {[]*pki.Certificate{noCA}, nil, "CN=root is no CA"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := pki.Generation(test.certs, first.Key, clock)
			if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("another certificate, or error: %v", err)
			}
			if errors.Is(err, pki.ErrNotOfKey) != (test.err == pki.ErrNotOfKey.Error()) {
				t.Errorf("it does not say whether there is one: %v", err)
			}
		})
	}
}
