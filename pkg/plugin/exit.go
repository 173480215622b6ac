package plugin

import "errors"

// Exit codes, for scripts. They are part of the interface.
const (
	ExitOK = 0
	// ExitError: it could not be done: no permission, unreachable cluster, bad file.
	ExitError = 1
	// ExitFindings: it was done, and what was found is not good, or not known.
	ExitFindings = 2
	// ExitUsage: the command line makes no sense (sysexits EX_USAGE, as istioctl).
	ExitUsage = 64
	// ExitTimeout: a gate did not open in time; the mesh is safe (as timeout(1)).
	ExitTimeout = 124

	ExitHungUp      = 129 // the terminal was lost (128 and the number of SIGHUP)
	ExitInterrupted = 130 // interrupted (128 and the number of SIGINT)
	ExitTerminated  = 143 // terminated (128 and the number of SIGTERM)
)

// Failure is an error with the exit code it ends in and what the user can do.
type Failure struct {
	Err  error
	Hint string
	Code int
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

func usage(err error, hint string) error { return &Failure{Err: err, Hint: hint, Code: ExitUsage} }
func failed(err error, hint string) error {
	return &Failure{Err: err, Hint: hint, Code: ExitError}
}
func found(err error, hint string) error {
	return &Failure{Err: err, Hint: hint, Code: ExitFindings}
}

// codeOf is the exit code of an error and its hint.
func codeOf(err error) (code int, hint string) {
	if err == nil {
		return ExitOK, ""
	}
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Code, f.Hint
	}
	return ExitError, ""
}
