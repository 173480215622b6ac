// Command envoys holds the verifier of chains against real Envoys of two
// releases: no pair may be accepted that one of them refuses, and none refused
// that both accept.
package main

import (
	"context"
	"crypto/x509"
	"flag"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/test/envoys/pairs"
)

func main() { os.Exit(run()) }

func run() int {
	count := flag.Int("random", 2000, "how many random pairs")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the random pairs")
	only := flag.String("show", "", "show the answers on pairs whose name begins with this")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	binaries := flag.Args()
	if len(binaries) < 2 {
		fmt.Fprintln(os.Stderr, "envoys: give two Envoy binaries: see run.sh")
		return 64
	}
	maker := &pairs.Maker{Now: time.Now(), Rand: mathrand.New(mathrand.NewPCG(*seed, 1))}
	all := maker.Table()
	table := len(all)
	for n := range *count {
		all = append(all, maker.Random(n))
	}
	fmt.Printf("%d pairs in the table, %d random ones (seed %d)\n", table, *count, *seed)
	answers := map[string][]bool{}
	for _, binary := range binaries {
		name := filepath.Base(filepath.Dir(binary))
		began := time.Now()
		got, err := ask(ctx, binary, all)
		if err != nil {
			fmt.Fprintf(os.Stderr, "envoys: %s: %v\n", name, err)
			return 1
		}
		answers[name] = got
		fmt.Printf("Envoy %s has judged them in %.1f s\n", name, time.Since(began).Seconds())
	}
	return compare(all, table, answers, *only)
}

type tally struct{ pairs, yes, no, depends, dependsYes, falseYes, falseNo, differ, goYes, goNo int }

func compare(all []pairs.Pair, table int, answers map[string][]bool, only string) int {
	names := slices.Sorted(maps.Keys(answers))
	var parts [2]tally
	now := time.Now()
	for i, p := range all {
		t := &parts[0]
		if i >= table {
			t = &parts[1]
		}
		t.pairs++
		yes := 0
		var said []string
		for _, name := range names {
			word := "no"
			if answers[name][i] {
				yes++
				word = "yes"
			}
			said = append(said, name+" "+word)
		}
		answer := pki.Verify(pki.Question{Judge: pki.Envoy, Roots: p.Bundle, Chain: p.Chain, At: now, Usage: pki.ClientAuth})
		violation := ""
		switch answer.Result {
		case pki.Accepted:
			if t.yes++; yes < len(names) {
				t.falseYes++
				violation = "ACCEPTED, BUT"
			}
		case pki.Refused:
			if t.no++; yes == len(names) {
				t.falseNo++
				violation = "REFUSED, BUT"
			}
		default:
			if t.depends++; yes == len(names) {
				t.dependsYes++
			}
		}
		if yes > 0 && yes < len(names) {
			t.differ++
		}
		switch goYes := goAlone(p, now); {
		case goYes && yes < len(names):
			t.goYes++
		case !goYes && yes == len(names):
			t.goNo++
		}
		if violation != "" || only != "" && strings.HasPrefix(p.Name, only) {
			fmt.Printf("%s %s: %s: %s (%s)\n", violation, p.Name, answer.Result, strings.Join(said, ", "), answer.Reason)
			if violation != "" {
				describe(p)
			}
		}
	}
	bad := 0
	for i, t := range parts {
		what := "table"
		if i == 1 {
			what = "random"
		}
		fmt.Printf("%-6s  %4d pairs: %d accepted, %d refused, %d depends (all Envoys yes in %d); false yes %d, false no %d; the Envoys differ in %d; Go alone: yes wrongly %d, no wrongly %d\n",
			what, t.pairs, t.yes, t.no, t.depends, t.dependsYes, t.falseYes, t.falseNo, t.differ, t.goYes, t.goNo)
		bad += t.falseYes + t.falseNo
	}
	if bad > 0 || len(all) == 0 {
		fmt.Printf("%d disagreements\n", bad)
		return 1
	}
	fmt.Println("the verifier agrees")
	return 0
}

// goAlone is what crypto/x509 says.
func goAlone(p pairs.Pair, now time.Time) bool {
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range p.Bundle {
		if c.X509 != nil {
			options.Roots.AddCert(c.X509)
		}
	}
	for _, c := range p.Chain[1:] {
		if c.X509 != nil {
			options.Intermediates.AddCert(c.X509)
		}
	}
	if p.Chain[0].X509 == nil {
		return false
	}
	_, err := p.Chain[0].X509.Verify(options)
	return err == nil
}

func describe(p pairs.Pair) {
	for _, part := range []struct {
		name  string
		certs []*pki.Certificate
	}{{"trusted", p.Bundle}, {"sent", p.Chain}} {
		for _, c := range part.certs {
			x := c.X509
			if x == nil {
				fmt.Printf("    %-8s %s unparsable\n", part.name, c.Fingerprint().Short())
				continue
			}
			fmt.Printf("    %-8s %s %q by %q until %s ski %x aki %x ca %v/%d ku %d eku %v v%d %s\n", part.name, c.Fingerprint().Short(), x.Subject, x.Issuer,
				x.NotAfter.Format(time.RFC3339), clip(x.SubjectKeyId), clip(x.AuthorityKeyId), x.IsCA, x.MaxPathLen, x.KeyUsage, x.ExtKeyUsage, x.Version, x.SignatureAlgorithm)
		}
	}
}

func clip(b []byte) []byte { return b[:min(3, len(b))] }
