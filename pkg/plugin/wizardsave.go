package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/meshca/kubectl-meshca/pkg/report"
)

// Save writes what was shown and the report behind it as Markdown, and the report as
// a page. Where the mesh cannot be read, what was shown is kept all the same.
func (b *wizardBackend) Save(ctx context.Context, name, text string) (string, error) {
	var markdown, page bytes.Buffer
	markdown.WriteString(text)
	r, failure := b.report(ctx)
	if failure == nil {
		markdown.WriteString("\n")
		failure = errors.Join(r.Markdown(&markdown), r.HTML(&page))
	}
	made := &created{}
	err := made.file(name+".md", markdown.Bytes(), 0o644)
	if err == nil && failure == nil {
		err = made.file(name+".html", page.Bytes(), 0o644)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("saving the report: %w", err), made.undo())
	}
	path := name + ".md"
	if full, err := filepath.Abs(path); err == nil {
		path = full
	}
	if failure != nil {
		return path, fmt.Errorf("without the evidence of the mesh: %w", failure)
	}
	return path + " and .html", nil
}

func (b *wizardBackend) report(ctx context.Context) (*report.Report, error) {
	s, kube, err := b.whole(ctx, nil)
	if err != nil {
		return nil, err
	}
	record, err := readRecord(ctx, kube, s, "")
	if err != nil {
		return nil, err
	}
	r, _, err := newReport(s, record, "the cluster", false)
	if r != nil {
		r.Cluster = b.cluster
	}
	return r, err
}
