# The few commands people run. `make check` is what must pass before a change lands.
.PHONY: quickstart test check bench fmt reference book

quickstart:
	cargo run -- run config-examples/quickstart.yaml

# Some tests against real servers make accounts, which only root can.
servers = $(if $(filter 0,$(shell id -u)),1,unprivileged)

test:
	tests/external.sh
	HRSINK_TEST_SERVERS=$(servers) cargo test

check:
	.ci/run

bench:
	cargo bench

fmt:
	cargo fmt --all

# The pages about settings, from the JSON Schema.
reference:
	UPDATE_DOCS=1 cargo test --test docs settings_reference

mdbook = $(HOME)/.cache/hrsink/mdbook/bin/mdbook

book: $(mdbook)
	$(mdbook) build docs

$(mdbook):
	cargo install --locked --root $(HOME)/.cache/hrsink/mdbook --no-default-features --features search mdbook@^0.5
