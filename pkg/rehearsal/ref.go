package rehearsal

import "strings"

// namespaceOf and nameOf take namespace/name apart.
func namespaceOf(ref string) string { namespace, _, _ := strings.Cut(ref, "/"); return namespace }
func nameOf(ref string) string      { _, name, _ := strings.Cut(ref, "/"); return name }
