# The few commands people run. `make check` is what must pass before a change lands.
.PHONY: quickstart test check bench fmt

quickstart:
	cargo run -- run config-examples/quickstart.yaml

# Some tests against real servers make accounts, which only root can.
servers = $(if $(filter 0,$(shell id -u)),1,unprivileged)

test:
	tests/outside.sh
	HRSINK_TEST_SERVERS=$(servers) cargo test

check:
	.ci/run

bench:
	cargo bench

fmt:
	cargo fmt --all
