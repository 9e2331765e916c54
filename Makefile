GO ?= go
TOOLS := $(CURDIR)/.cache/tools
export PATH := $(TOOLS)/bin:$(PATH)
RELEASE ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

.PHONY: build demo test race lint generate check-generated bench bench-1m soak fuzz chaos isolation simulate clean

build: ## the binary, in bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-X github.com/lifeboat-secrets/lifeboat/internal/cli.release=$(RELEASE)" -o bin/lifeboat ./cmd/lifeboat

demo: build ## the main job, on a fresh machine with only Go
	./bin/lifeboat demo --report-dir bin

test: ## everything that CI tests
	./scripts/test

race: ## the tests with the race detector
	$(GO) test -race ./...

lint: ## static checks, those of go vet among them
	$(GO) tool -modfile=tools/go.mod golangci-lint run ./...

generate: $(TOOLS)/bin/buf ## Go code from the protobuf files
	$(TOOLS)/bin/buf lint
	$(TOOLS)/bin/buf generate

check-generated: generate ## generated code is what the protobuf files say
	git diff --exit-code -- '*.pb.go' '*.connect.go'

$(TOOLS)/bin/buf: tools/go.mod scripts/install-tools
	./scripts/install-tools $(TOOLS)

bench: ## every figure, compared with its target; writes bench/results/latest.json
	$(GO) run ./bench

bench-1m: ## the figures at a million secrets, which take minutes to load
	$(GO) run ./bench -million

DURATION ?= 30m
soak: ## mixed load for DURATION (30m): does memory grow, does anything leak
	$(GO) run ./bench soak -duration $(DURATION)

simulate: ## thousands of random histories of three regions in simulated time
	$(GO) test -count 1 -timeout 30m ./test/simulation ./internal/queue -run 'Whatever|NothingIsLost' -rapid.checks 5000

chaos: ## five minutes each of faults under load: in a region, between three, and with takeovers and moves
	$(GO) test -race -count 1 -timeout 40m -v ./test/chaos -run '^(TestKill|TestRegions|TestHomes)$$' -chaos.duration 5m

isolation: ## 1,000,000 updates while a target is dead, 1,000,000 secrets while ten are; takes up to two hours
	$(GO) test -count 1 -timeout 4h -v ./test/isolation -isolation.updates 1000000 -isolation.secrets 10000 \
		-isolation.distinct 1000000 -isolation.cap 100000

clean:
	rm -rf bin .cache bench/results
