# One binary, no root. Build: docker build -t vestibule .
# Run:   docker run -p 8080:8080 -v vestibule:/var/lib/vestibule -v ./vestibule.toml:/etc/vestibule.toml:ro vestibule

FROM rust:1.95-bookworm AS build
WORKDIR /src
# OpenSSL is built from source (feature vendored-openssl), so the image needs no libssl. All stores are in it. `dev` stays out: it would bring
# a whole MCP SDK that a server never uses.
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY providers providers
COPY examples examples
COPY benches benches
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --no-default-features --features vendored-openssl,redis,postgres \
    && cp target/release/vestibule /vestibule

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin vestibule \
    && install -d -o vestibule -g vestibule -m 0700 /var/lib/vestibule
COPY --from=build /vestibule /usr/local/bin/vestibule
USER 10001
# The only place that is written; everything else may be mounted read-only.
VOLUME /var/lib/vestibule
EXPOSE 8080
# The admin listener's default. With another [admin] listen, let the orchestrator probe that and pass --no-healthcheck.
HEALTHCHECK --interval=30s --timeout=3s --start-period=5s CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/9090 && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q '^HTTP/1.. 200' <&3"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["vestibule"]
CMD ["serve"]
