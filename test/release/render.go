package main

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"text/template"
)

// render fills the template in as krew-release-bot does (pkg/source/template.go of
// v0.0.51), with the checksums of files that are not published yet.
func render(name, tag string, sums map[string]string) ([]byte, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	values := struct{ TagName string }{tag}
	parsed, err := template.New(filepath.Base(name)).Funcs(template.FuncMap{
		"addURIAndSha": func(address, tag string) (string, error) {
			inner, err := template.New("address").Parse(address)
			if err != nil {
				return "", err
			}
			var uri bytes.Buffer
			if err := inner.Execute(&uri, struct{ TagName string }{tag}); err != nil {
				return "", err
			}
			sum, ok := sums[path.Base(uri.String())]
			if !ok {
				return "", fmt.Errorf("%s is not among the files of the release", uri.String())
			}
			return fmt.Sprintf("uri: %s\n    sha256: %s", uri.String(), sum), nil
		},
	}).Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, values); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out.Bytes(), nil
}
