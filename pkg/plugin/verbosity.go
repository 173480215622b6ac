package plugin

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
)

// mostVerbose is the highest -v. From 8 on client-go logs bodies of requests and answers
// (k8s.io/client-go rest/request.go, logBody), those of the CA Secret among them.
const mostVerbose = 7

// verbosity is what a command says besides its result, as kubectl's -v and -q.
type verbosity struct {
	level int
	// quiet leaves out progress. Warnings, questions and errors are said all the same.
	quiet bool
	color string
}

func (v *verbosity) addFlags(flags *pflag.FlagSet) {
	flags.IntVarP(&v.level, "v", "v", 0, fmt.Sprintf("log what is asked of the API server, on standard error: 6 its URLs and times, %d headers too; bodies hold keys and are never logged", mostVerbose))
	flags.BoolVarP(&v.quiet, "quiet", "q", false, "no progress on standard error; warnings, questions and errors stay")
	flags.StringVar(&v.color, "color", "auto", "colours of the wizard: auto, always or never")
}

// colors are the values of --color.
func colors() []string { return []string{"auto", "always", "never"} }

// apply has client-go log to w; without -v it does not, for what went wrong is told with
// the command's own error.
func (v *verbosity) apply(w io.Writer) error {
	switch {
	case v.level < 0 || v.level > mostVerbose:
		return usage(fmt.Errorf("-v %d", v.level), fmt.Sprintf("0 to %d: from %d on the bodies of requests would be logged, and keys with them", mostVerbose, mostVerbose+1))
	case !slices.Contains(colors(), v.color):
		return usage(fmt.Errorf("--color %q", v.color), "use "+strings.Join(colors(), ", "))
	case v.level == 0:
		return nil
	}
	klog.SetOutput(&lineWriter{to: w})
	return setLog("v=" + strconv.Itoa(v.level))
}

// muteLog keeps off the terminal what client-go logs: it writes on its own, over whatever is
// drawn there, and with what a server says as it is.
func muteLog() error {
	klog.SetOutput(io.Discard)
	return setLog("logtostderr=false", "alsologtostderr=false", "stderrthreshold=FATAL", "one_output=true")
}

// setLog sets flags of klog's, which has no other way.
func setLog(settings ...string) error {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	klog.InitFlags(flags)
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		if err := flags.Set(name, value); err != nil {
			return fmt.Errorf("setting the log's %s: %w", name, err)
		}
	}
	return nil
}

// lineWriter makes each line that is written safe for a terminal.
type lineWriter struct{ to io.Writer }

func (l *lineWriter) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if _, err := fmt.Fprintln(l.to, plain(string(bytes.TrimRight(line, "\n")))); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
