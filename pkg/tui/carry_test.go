package tui

import (
	"strings"
	"testing"
)

// TestSentencesStayWithTheMesh: a command in a sentence is about the mesh that is looked at,
// and is not cut for its length.
func TestSentencesStayWithTheMesh(t *testing.T) {
	c := common{bound: newKeyMap(), carry: func(text string) string { return strings.ReplaceAll(text, "retire'", "retire --context=prod'") }}
	got := strings.Join(c.factLines([]fact{{"Next", "'kubectl meshca retire' ends it"}}, 60, 6), "\n")
	if !strings.Contains(got, "'kubectl meshca retire --context=prod' ends it") {
		t.Errorf("it says %q", got)
	}
}
