# `make` lists the targets. Details: CONTRIBUTING.md, docs/first-change.md.

PREFIX ?= /usr/local
DESTDIR ?=
DIST := target/dist
# The shim is linked statically: it starts in any mount namespace and costs each pod as little memory as can be. With musl,
# as glibc asks the processor what it can do before main, and each such question traps in a virtual machine: 0.5 ms a pod.
SHIM_FLAGS := -C target-feature=+crt-static -C relocation-model=static
SHIM_TARGET := $(shell uname -m)-unknown-linux-musl

.DEFAULT_GOAL := help
.PHONY: help demo test test-long check bench guest build install

help: ## this list
	@echo "Cradle: a container runtime for Kubernetes nodes. Targets:"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  %-12s %s\n", $$1, $$2 }'

demo: ## build, run a pod of a real image, show what it can do, remove everything (root, Debian; DEMO_IMAGE=… takes another image)
	@hack/demo.sh

test: ## all tiers: check, unit, node, conformance, guest (root, Debian); some of them: cargo xtask test TIER…
	@tests/run.sh

test-long: ## all tiers in their long forms: an hour or more
	@tests/run.sh --long

check: ## format, clippy, tidy, generated code, licences: what must be green before a commit
	@cargo xtask check

bench: ## the figures of docs/budgets.md, side by side with containerd (root, go)
	@hack/bench.sh

guest: ## the same programs in a throw-away guest: cgroup v2, systemd (root, Debian)
	@tests/run.sh guest

build: ## the programs as they are shipped, in target/dist
	cargo build --release --package cradled --package cradle
	@rustup target list --installed | grep -qx $(SHIM_TARGET) || rustup target add $(SHIM_TARGET)
	RUSTFLAGS="$(SHIM_FLAGS)" cargo build --profile shim --package cradle-shim --target-dir target/static --target $(SHIM_TARGET)
	@mkdir -p $(DIST)
	@install -m 755 target/release/cradled target/release/cradle target/static/$(SHIM_TARGET)/shim/cradle-shim $(DIST)/

install: build ## programs, systemd unit and a sample configuration to $(DESTDIR)$(PREFIX) (root)
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(DIST)/cradled $(DIST)/cradle $(DIST)/cradle-shim
	install -d $(DESTDIR)/etc/systemd/system $(DESTDIR)/etc/cradle/certs.d
	sed 's|/usr/local|$(PREFIX)|g' deploy/cradle.service > $(DESTDIR)/etc/systemd/system/cradle.service
	test -e $(DESTDIR)/etc/cradle/config.toml || install -m 644 deploy/config.toml $(DESTDIR)/etc/cradle/config.toml
