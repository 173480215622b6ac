package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/test/envoys/pairs"
)

// askWebpki has the program in webpki/, given as a binary, judge every pair.
func askWebpki(ctx context.Context, binary string, usage pki.Usage, at time.Time, all []pairs.Pair) ([]bool, error) {
	var questions bytes.Buffer
	for _, p := range all {
		fmt.Fprintf(&questions, "%s %d %s %s\n", usage, at.Unix(), digits(p.Bundle), digits(p.Chain))
	}
	c := exec.CommandContext(ctx, binary)
	c.Stdin, c.Stderr = &questions, os.Stderr
	out, err := c.Output()
	if err != nil {
		return nil, err
	}
	answers := make([]bool, 0, len(all))
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		word, _, _ := strings.Cut(lines.Text(), " ")
		if word != "yes" && word != "no" {
			return nil, fmt.Errorf("an answer that is none: %q", lines.Text())
		}
		answers = append(answers, word == "yes")
	}
	if len(answers) != len(all) {
		return nil, fmt.Errorf("%d answers to %d questions", len(answers), len(all))
	}
	return answers, nil
}

func digits(certs []*pki.Certificate) string {
	words := make([]string, len(certs))
	for i, c := range certs {
		words[i] = hex.EncodeToString(c.DER)
	}
	return strings.Join(words, ",")
}
