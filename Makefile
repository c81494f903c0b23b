# The few commands people run. `make check` is what must pass before a change lands.
.PHONY: quickstart test check bench fmt

quickstart:
	cargo run -- run config-examples/quickstart.yaml

test:
	tests/outside.sh
	HRSINK_TEST_SERVERS=1 cargo test

check:
	.ci/run

bench:
	cargo bench

fmt:
	cargo fmt --all
