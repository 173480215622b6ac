package plugin

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCoverage holds docs/coverage.md: every id of the procedures has its row, and what a
// row names is there.
func TestCoverage(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(docsFolder, "coverage.md"))
	if err != nil {
		t.Fatal(err)
	}
	ids, named := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || strings.HasPrefix(line, "|--") {
			continue
		}
		for _, id := range regexp.MustCompile(`\b[SPTGN]\d+\b`).FindAllString(cells[1], -1) {
			ids[id] = true
		}
		for _, name := range regexp.MustCompile(`\b(Test|Benchmark)[A-Z0-9]\w*|[\w/-]+\.(txtar|sh)\b`).FindAllString(cells[3], -1) {
			named[name] = true
		}
	}
	for kind, last := range map[string]int{"S": 32, "P": 6, "T": 6, "G": 20, "N": 3} {
		for n := 1; n <= last; n++ {
			if id := fmt.Sprint(kind, n); !ids[id] {
				t.Errorf("%s has no row", id)
			}
		}
	}
	there := map[string]bool{}
	tests := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark)\w+)\(`)
	for _, folder := range []string{"../../cmd", "../../pkg", "../../test"} {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			switch {
			case strings.HasSuffix(path, "_test.go"):
				source, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				for _, found := range tests.FindAllSubmatch(source, -1) {
					there[string(found[1])] = true
				}
			case strings.HasSuffix(path, ".txtar"), strings.HasSuffix(path, ".sh"):
				for name := range named {
					there[name] = there[name] || strings.HasSuffix(filepath.ToSlash(path), "/"+name)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name := range named {
		if !there[name] {
			t.Errorf("there is no %s", name)
		}
	}
}
