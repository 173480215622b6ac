package plugin

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"
)

// waitFlag adds --timeout; byDefault says what bounds the waits where it is not given,
// which the mesh decides and no number in a page of help can.
func waitFlag(flags *pflag.FlagSet, into *time.Duration, byDefault string) {
	*into = untold
	flags.Var((*wait)(into), "timeout", "bound on the waits of all gates together, not on those for files or for the certificates of who was accepted; 0 looks once (default: "+byDefault+")")
}

// untold is a wait that no flag has given.
const untold time.Duration = -1

// wait is a duration flag of which nothing need be said.
type wait time.Duration

func (w *wait) String() string {
	if time.Duration(*w) == untold {
		return ""
	}
	return time.Duration(*w).String()
}

func (w *wait) Type() string { return "duration" }

func (w *wait) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return fmt.Errorf("%q is not a duration: write 30m or 2h", text)
	}
	*w = wait(d)
	return nil
}
