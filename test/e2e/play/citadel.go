package main

// citadel is a mesh of Istio 1.4 or before: a root of a year with 10 days left, 1 Citadel, certificates in mounted Secrets.
var citadel = &mesh{name: "citadel", about: "a real Citadel and its pilot-agents over this Envoy, a root that ends in 10 days", citadel: true}

var citadelRows = []row{}
