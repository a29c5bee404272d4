# `make` alone lists what there is.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup build demo test lint format bench docs clean

# Empty, or `--static-swift-stdlib`: a binary that needs no Swift runtime beside it.
RELEASE_FLAGS ?= --static-swift-stdlib
# More arguments for a command: `make test ARGUMENTS='--filter Append'`, `make demo ARGUMENTS=--help`.
ARGUMENTS ?=

SWIFT_FILES = $(wildcard Package.swift Sources Tests Plugins Benchmarks/Package.swift Benchmarks/Sources \
  Examples)

help: ## Lists the targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: ## Installs what is missing of PostgreSQL, libsodium and libzstd.
	@scripts/setup.sh

build: setup ## Builds esctl for release, in .build/release.
	scripts/swift.sh build -c release --product esctl $(RELEASE_FLAGS)

demo: build ## Shows what the store does, on a PostgreSQL of its own.
	.build/release/esctl demo $(ARGUMENTS)

test: ## Builds and runs all tests, on a PostgreSQL (and a Redis, and a NATS) of their own.
	@scripts/setup.sh --relays
	scripts/swift.sh build --build-tests $$(scripts/traits.sh)
	scripts/swift.sh test --skip-build $$(scripts/traits.sh) $(ARGUMENTS)

lint: ## Checks the format of Swift, SQL and shell files; changes nothing.
	@scripts/lint.sh $(SWIFT_FILES)

format: ## Formats the Swift files in place.
	swift format --in-place --recursive --parallel $(SWIFT_FILES)

bench: setup ## Measures the store beside plain PostgreSQL.
	swift run -c release --package-path Benchmarks benchmarks $(ARGUMENTS)

docs: setup ## Builds the reference documentation, in .build/docs.
	rm -rf .build/docs .build/symbols && mkdir -p .build/docs .build/symbols
	for target in EventStoreCommands EventStoreTesting Webhooks RedisRelay NATSRelay; do \
	  scripts/swift.sh build --target $$target $$(scripts/traits.sh) --scratch-path .build/docs-build -Xswiftc -emit-symbol-graph \
	    -Xswiftc -emit-symbol-graph-dir -Xswiftc "$(CURDIR)/.build/symbols" \
	    -Xswiftc -symbol-graph-minimum-access-level -Xswiftc public || exit 1; \
	done
	for catalogue in Sources/*/Documentation.docc; do \
	  module=$$(basename $$(dirname $$catalogue)); \
	  [ -f .build/symbols/$$module.symbols.json ] || continue; \
	  mkdir -p .build/symbols/only-$$module && cp .build/symbols/$$module*.symbols.json .build/symbols/only-$$module && \
	  docc convert $$catalogue --additional-symbol-graph-dir .build/symbols/only-$$module \
	    --fallback-display-name $$module --fallback-bundle-identifier eventstore.$$module \
	    --output-path .build/docs/$$module || exit 1; \
	done

clean: ## Removes what was built. Data in .eventstore stays.
	rm -rf .build Benchmarks/.build
