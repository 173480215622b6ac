package mesh

import (
	"cmp"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// chartMeshFile is where istiod looks for its mesh config before it asks for a ConfigMap,
// unless --meshConfig says otherwise (istio 1.30.3 pilot/cmd/pilot-discovery/app/cmd.go:137).
const chartMeshFile = "/etc/istio/config/mesh"

// meshKey is the entry of a ConfigMap that holds the mesh config (istio 1.30.3
// pkg/config/mesh/kubemesh/watcher.go).
const meshKey = "mesh"

// meshFile is the file that an istiod's mesh config is mounted as, the zero value where
// none is: then the ConfigMap of its revision counts, and where there is a file that does
// not (istio 1.30.3 pilot/pkg/bootstrap/mesh.go:108, getConfigurationSources).
type meshFile struct {
	name, key string // the ConfigMap, and its entry
	elsewhere string // what it is in that could not be read here
}

// meshFileOf finds it by what is mounted nearest to its path.
func meshFileOf(spec corev1.PodSpec, container *corev1.Container) meshFile {
	// Relative to istiod's directory, which is the root.
	file := path.Clean("/" + cmp.Or(argument(container, "--meshConfig"), chartMeshFile))
	var mount corev1.VolumeMount
	for _, m := range container.VolumeMounts {
		dir := path.Clean(m.MountPath)
		if (dir == file || strings.HasPrefix(file, strings.TrimSuffix(dir, "/")+"/")) && len(dir) >= len(mount.MountPath) {
			mount, mount.MountPath = m, dir
		}
	}
	i := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == mount.Name })
	if mount.Name == "" || i < 0 {
		return meshFile{}
	}
	inside := path.Join(mount.SubPath, strings.TrimPrefix(strings.TrimPrefix(file, mount.MountPath), "/"))
	from := spec.Volumes[i].ConfigMap
	if from == nil || mount.SubPathExpr != "" {
		return meshFile{elsewhere: "its volume " + mount.Name}
	}
	for _, item := range from.Items {
		if path.Clean(item.Path) == inside {
			return meshFile{name: from.Name, key: item.Key}
		}
	}
	if len(from.Items) > 0 || strings.Contains(inside, "/") {
		return meshFile{} // nothing of it is mounted there
	}
	return meshFile{name: from.Name, key: inside}
}
