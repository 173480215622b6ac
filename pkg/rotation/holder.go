package rotation

import (
	"fmt"
	"strconv"
	"strings"
)

// Holder is who runs a rotation, and where: "user@host/process" in a Lease.
type Holder struct {
	User    string `json:"user"`
	Host    string `json:"host,omitempty"`
	Process int    `json:"process,omitempty"`
}

// ParseHolder reads a Lease's holder. What is not of this form is all user: the
// Lease is not ours alone to write.
func ParseHolder(text string) Holder {
	name, process, ok := cutLast(text, "/")
	pid, err := strconv.Atoi(process)
	user, host, at := cutLast(name, "@")
	if !ok || err != nil || !at || host == "" || strconv.Itoa(pid) != process {
		return Holder{User: text}
	}
	return Holder{User: user, Host: host, Process: pid}
}

func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return s, "", false
}

// Identity is the holder as a Lease has it.
func (h Holder) Identity() string {
	if h.Host == "" && h.Process == 0 {
		return h.User
	}
	return fmt.Sprintf("%s@%s/%d", h.User, h.Host, h.Process)
}

func (h Holder) String() string {
	if h.Host == "" {
		return h.User
	}
	return fmt.Sprintf("%s on %s (process %d)", h.User, h.Host, h.Process)
}
