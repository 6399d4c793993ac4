# The table of contents of all chores; `just` alone lists them.

# Builds against the system's OpenSSL where there is one, which is faster than building it.
features := if `pkg-config --exists openssl && echo yes || true` == "yes" { "--no-default-features --features dev,redis,postgres" } else { "" }

_list:
    @just --list --unsorted

# Everything that a change must pass before it lands.
check: fmt-check clippy test doc deny

# See a whole login on this machine.
dev *arguments:
    cargo run --release {{features}} -- dev {{arguments}}

# Write the sources in the house's format.
fmt:
    cargo fmt --all

fmt-check:
    cargo fmt --all --check

# Lints, warnings are errors.
clippy:
    cargo clippy --all-targets {{features}} -- -D warnings

# Unit and integration tests (an argument filters: `just test walls`).
test *filter:
    cargo test {{features}} {{filter}}

# Everything, also against third-party clients, providers and servers; installs them below target/.
test-all *arguments:
    tests/run {{arguments}}

# `kill -9` of the real server under load, many times (`just crash 500`); 5 times it is part of the tests.
crash kills="100":
    VESTIBULE_TEST_KILLS={{kills}} cargo test {{features}} --test it -- --nocapture kill_9

# Simulated histories of whole deployments, a million unless told otherwise (docs/simulation.md).
sim histories="1000000" first="1":
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 SIM_HISTORIES={{histories}} SIM_FIRST={{first}} \
        cargo test --release {{features}} --test it -- --nocapture sim::histories_

# One of them, told step by step.
sim-seed seed:
    SIM_SEED={{seed}} cargo test {{features}} --test it -- --nocapture sim::one_seed

# Fuzz every target, or those named, for so long each; `just fuzz keep` keeps the best (docs/fuzzing.md; nightly toolchain).
fuzz seconds="600" *targets:
    fuzz/run {{seconds}} {{targets}}

# The documentation of the library; broken links are errors.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps {{features}}

# Licences, bans, sources; advisories where their database can be had.
deny:
    cargo deny --all-features check bans licenses sources
    -cargo deny --all-features check advisories

# Micro benchmarks, then load in interleaved rounds, then lasting logins and a million of them over each store.
bench:
    cargo bench {{features}} --bench micro
    cargo build --release {{features}}
    python3 benches/load/run.py
    python3 benches/load/lasting.py --redis --postgres
    cargo build --release {{features}} --example filled
    python3 benches/load/many.py

# The container image.
image:
    docker build -t vestibule .
