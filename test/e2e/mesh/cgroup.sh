# cgroup.sh, to be sourced: a control group of its own for each mesh, so that several kubelets on one host do not take each other's
# pods for leftovers. It lies in the caller's own group, whose limits hold on (version 2, where a group with processes hands nothing
# down: below the root). Version 1 has one hierarchy for each controller, "unified" beside them.
cgroups() { # NAME: the folder of the group in each hierarchy
  awk -v name="$1" 'FILENAME=="/proc/self/cgroup" {n=index($0,":"); s=substr($0,n+1); m=index(s,":"); path[substr(s,1,m-1)]=substr(s,m+1); next}
    $3=="cgroup" {n=split($4,o,","); p=""; for(i=1;i<=n;i++) if(o[i] in path) p=path[o[i]]; for(c in path) {split(c,k,","); for(i=1;i<=n;i++) if(o[i]==k[1]) p=path[c]}; emit($2 p)}
    $3=="cgroup2" {emit($2)}
    function emit(d) {sub("/$","",d); if(d !~ "/"name"$") d=d "/" name; if(!seen[d]++) print d}' /proc/self/cgroup /proc/mounts
}
cgroup_make() { # NAME
  local d f
  for d in $(cgroups "$1"); do
    mkdir -p "$d"
    # cpuset lets no process in before both are set
    for f in cpuset.cpus cpuset.mems; do [ ! -e "$d/cpuset.memory_migrate" ] || cat "$d/../$f" >"$d/$f"; done
    # The whole mesh would get the time of one other process: what else this machine does would fail requests, and no rotation.
    [ ! -e "$d/cpu.shares" ] || echo 262144 >"$d/cpu.shares"
    # version 2: what the parent does not hand down, the child does not have
    [ ! -e "$d/cgroup.controllers" ] || for f in $(cat "$d/../cgroup.controllers"); do echo "+$f" 2>/dev/null >"$d/../cgroup.subtree_control" || true; done
    [ ! -e "$d/cpu.weight" ] || echo 10000 >"$d/cpu.weight"
  done
}
cgroup_enter() { local d; for d in $(cgroups "$1"); do echo $$ >"$d/cgroup.procs"; done; } # NAME
cgroup_mount() { # in the new namespaces: the group becomes the root of what is seen there
  local what h kind o f
  awk '($3=="cgroup" || $3=="cgroup2") && !seen[$2]++ {
    n=split($4,o,","); s=""; for(i=1;i<=n;i++) if(o[i]!~/^(rw|ro|relatime|noatime|nosuid|nodev|noexec|xattr|release_agent=.*|clone_children)$/) s=s (s==""?"":",") (o[i]~/^name=/?"none," o[i]:o[i]); print $1,$2,$3,s}' /proc/mounts |
  while read -r what h kind o; do
    umount "$h" # the same hierarchy is not mounted twice on one folder
    if [ "$kind" = cgroup2 ]; then
      mount -t cgroup2 "$what" "$h"
      # version 2: a group hands controllers down only while it has no process itself
      [ -z "$(cat "$h/cgroup.controllers")" ] || { mkdir -p "$h/init"; for f in $(cat "$h/cgroup.procs"); do echo "$f" 2>/dev/null >"$h/init/cgroup.procs" || true; done; }
      for f in $(cat "$h/cgroup.controllers"); do echo "+$f" 2>/dev/null >"$h/cgroup.subtree_control" || true; done
    else
      mount -t cgroup -o "$o" "$what" "$h"
    fi
  done
}
cgroup_remove() { # NAME; processes that were killed leave their group a moment later
  local d i
  for d in $(cgroups "$1"); do
    for i in $(seq 50); do [ -d "$d" ] || break; find "$d" -depth -type d -exec rmdir {} + 2>/dev/null || sleep .1; done
  done
}
