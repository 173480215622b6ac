package tui

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// planner is a Backend that cannot plan at first, and plans what is asked then.
type planner struct {
	scripted
	asked   []Choice
	rotated []Choice
}

func (b *planner) Plan(_ context.Context, c Choice) (*rotation.Plan, error) {
	b.asked = append(b.asked, c)
	if len(b.asked) == 1 {
		return nil, &Problem{errors.New("reading --root: no such file"), "name a file that is there"}
	}
	plan := fixturePlan()
	plan.Options[0].Possible = true
	if c.Strategy != "" {
		plan.Strategy = c.Strategy
	}
	return plan, nil
}

func (b *planner) Rotate(_ context.Context, c Choice, _ func(rotation.Event)) error {
	b.rotated = append(b.rotated, c)
	return nil
}

// TestPlainAsksAgain: without a screen too a wrong answer ends nothing: it is told with
// its hint, and asked once more; and what was read before the cluster's name is typed
// is what is run.
func TestPlainAsksAgain(t *testing.T) {
	b := &planner{scripted: scripted{seen: fixture(8)}}
	again := []string{"", "", "", "", "", "", ""}
	typed := []string{"", "", "r"}
	typed = append(typed, "", "", "old.pem", "2", "age1abcdefgh", "wrongend", "")
	typed = append(typed, "", "", "-", "", "", "abcdefgh", "")
	typed = append(append(typed, "r"), again...)
	typed = append(typed, "hot-bundle", "prod-eu-1")
	var out bytes.Buffer
	if _, err := RunPlain(context.Background(), Options{Backend: b, In: strings.NewReader(strings.Join(typed, "\n") + "\n"), Out: &out, Now: noon}); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"the last 8 characters of the recipient are other ones", "no such file", "hint: name a file that is there", "planned by its name: hot-bundle", "planned by its name: cross-sign"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q was never said:\n%s", want, out.String())
		}
	}
	if len(b.asked) != 3 || b.asked[0].OldRootKey != "" || b.asked[0].Recipient != "age1abcdefgh" {
		t.Errorf("planned: %+v", b.asked)
	}
	if len(b.rotated) != 1 || b.rotated[0].Strategy != rotation.HotBundle || b.rotated[0].Recipient != "age1abcdefgh" {
		t.Errorf("rotated: %+v", b.rotated)
	}
}
