// Package restart replaces the pods of those workloads whose proxies must start
// anew: first as a plan, which is pure, then wave by wave, through each workload's
// own controller. A rollout does not ask PodDisruptionBudgets, so the plan does;
// what only an eviction can replace goes by eviction, which the API server lets
// through or not. Whatever is not restarted is named, with the reason.
package restart
