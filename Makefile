# make test needs Go alone; make e2e-smoke needs Linux and root, and the package registries the first time.
.PHONY: build demo test screens race lint mutants fuzz fuzz-short envoys e2e-smoke e2e bench-e2e docs release-snapshot release-check licenses deadcode workflows vulnerabilities
build:
	CGO_ENABLED=0 go build -trimpath -tags grpcnotrace -o bin/ ./cmd/...
demo: # a rotation on a mesh in memory: no cluster, Go alone
	@go run ./cmd/kubectl-meshca demo
test:
	go test -timeout 40m ./...
screens: # the README's pictures, from the wizard's own frames
	MESHCA_SCREENS=1 go test -run TestScreens ./pkg/tui
captures: # those of a real mesh, which test/e2e/wizard.sh has kept
	MESHCA_CAPTURES=$${CAPTURES:?a folder of screens} go test -count=1 -run TestCaptures ./pkg/tui
race: # needs a C compiler; of the long tables a part, for all of it under the detector takes an hour
	go test -race -short -timeout 40m ./...
bin/golangci-lint: tools/go.mod tools/go.sum
	cd tools && go build -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
lint: bin/golangci-lint
	bin/golangci-lint run --allow-parallel-runners ./...
	@files=$$(gofmt -l .); test -z "$$files" || { echo "gofmt: $$files"; exit 1; }
	go vet ./...
	go mod verify >/dev/null
	go mod tidy -diff
mutants: # every gate and refusal broken in turn: a row of the table must go red; ONLY is a pattern of their names
	cd pkg/rehearsal/scenario && MESHCA_MUTANTS='$(or $(ONLY),.)' go test -v -count=1 -run 'TestMutants$$' -timeout 3h . -update
FUZZTIME ?= 60s
fuzz: # every parser of what a cluster or a user gives
	@grep -rlE --include=*_test.go '^func Fuzz' pkg | xargs -n1 dirname | sort -u | while read -r dir; do \
	  for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9]*' $$dir/*_test.go | cut -c6-); do \
	    echo "$$dir $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x ./$$dir || exit 1; \
	  done; \
	done
fuzz-short:
	$(MAKE) fuzz FUZZTIME=5s
envoys: # the verifier of chains against real ones, on loopback
	test/envoys/run.sh
e2e-smoke: build
	test/e2e/run.sh smoke
e2e: build envoys
	test/e2e/run.sh full
bench-e2e: build
	test/e2e/run.sh bench
docs: # what is written from the code: reference, man pages, schemas, exit codes, events, hints, permissions
	go test ./pkg/plugin -run 'TestDocs$$' -update

# Tools that a release and its checks need, each in a module of its own, built once.
tool = cd tools/$(1) && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o ../../bin/ $(2)
bin/goreleaser: tools/goreleaser/go.mod
	$(call tool,goreleaser,github.com/goreleaser/goreleaser/v2)
bin/syft: tools/syft/go.mod
	$(call tool,syft,github.com/anchore/syft/cmd/syft)
bin/krew bin/validate-krew-manifest &: tools/krew/go.mod
	$(call tool,krew,sigs.k8s.io/krew/cmd/krew sigs.k8s.io/krew/cmd/validate-krew-manifest)
bin/go-licenses: tools/go-licenses/go.mod
	$(call tool,go-licenses,github.com/google/go-licenses/v2)
bin/actionlint: tools/actionlint/go.mod
	$(call tool,actionlint,github.com/rhysd/actionlint/cmd/actionlint)
bin/deadcode: tools/deadcode/go.mod
	$(call tool,deadcode,golang.org/x/tools/cmd/deadcode)
bin/govulncheck: tools/govulncheck/go.mod
	$(call tool,govulncheck,golang.org/x/vuln/cmd/govulncheck)
release-snapshot: bin/goreleaser bin/syft # offline; prints what it leaves out
	test/release/run.sh snapshot
release-check: bin/goreleaser bin/syft bin/krew bin/validate-krew-manifest # and installs it by krew, runs it by kubectl
	test/release/run.sh check
licenses: bin/go-licenses # of all that is linked in
	bin/go-licenses check ./cmd/kubectl-meshca --include_tests=false --ignore github.com/meshca/kubectl-meshca --allowed_licenses=Apache-2.0,MIT,BSD-2-Clause,BSD-3-Clause,ISC,MPL-2.0
deadcode: bin/deadcode
	@found=$$(bin/deadcode -test ./...); test -z "$$found" || { echo "$$found"; exit 1; }
workflows: bin/actionlint
	bin/actionlint
vulnerabilities: bin/govulncheck # needs vuln.go.dev
	bin/govulncheck ./...
