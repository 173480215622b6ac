# make test needs Go alone; make e2e-smoke needs Linux and root, and the package registries the first time.
.PHONY: build demo test race lint fuzz envoys e2e-smoke e2e bench-e2e
build:
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...
demo: # a rotation on a mesh in memory: no cluster, Go alone
	@go run ./cmd/kubectl-meshca demo
test:
	go test ./...
screens: # the README's pictures, from the wizard's own frames
	MESHCA_SCREENS=1 go test -run TestScreens ./pkg/tui
race: # needs a C compiler
	go test -race ./...
bin/golangci-lint: tools/go.mod tools/go.sum
	cd tools && go build -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
lint: bin/golangci-lint
	bin/golangci-lint run --allow-parallel-runners ./...
	@files=$$(gofmt -l .); test -z "$$files" || { echo "gofmt: $$files"; exit 1; }
	go vet ./...
	go mod verify >/dev/null
	go mod tidy -diff
fuzz:
	go test -run '^$$' -fuzz FuzzParseBundle -fuzztime 60s ./pkg/pki
	go test -run '^$$' -fuzz FuzzReadFields -fuzztime 60s ./pkg/pki
	go test -run '^$$' -fuzz FuzzParseSecrets -fuzztime 60s ./pkg/proxy
	go test -run ^$$ -fuzz FuzzParseZtunnel -fuzztime 30s -fuzzminimizetime 1x ./pkg/proxy
	go test -run ^$$ -fuzz FuzzParseClusters -fuzztime 30s -fuzzminimizetime 1x ./pkg/proxy
	go test -run ^$$ -fuzz FuzzReadSnapshot -fuzztime 30s -fuzzminimizetime 1x ./pkg/mesh
	go test -run ^$$ -fuzz FuzzParseKey -fuzztime 30s -fuzzminimizetime 1x ./pkg/pki
	go test -run ^$$ -fuzz FuzzParseFiles -fuzztime 30s -fuzzminimizetime 1x ./pkg/pki
	go test -run ^$$ -fuzz FuzzLintFiles -fuzztime 30s -fuzzminimizetime 1x ./pkg/pki
envoys: # the verifier of chains against real ones, on loopback
	test/envoys/run.sh
e2e-smoke: build
	test/e2e/run.sh smoke
e2e: build envoys
	test/e2e/run.sh full
bench-e2e: build
	test/e2e/run.sh bench
