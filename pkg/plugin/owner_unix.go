//go:build unix

package plugin

import (
	"os"
	"syscall"
)

// ours reports whether a file belongs to the user who runs this; of a link, what it leads
// to. Who cannot be told is taken for him.
func ours(name string) bool {
	info, err := os.Stat(name)
	if err != nil {
		return true
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return !ok || int(stat.Uid) == os.Getuid()
}
