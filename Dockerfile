# syntax=docker/dockerfile:1
FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
# The dependencies are a layer of their own, which only a change of the manifest rebuilds. Cargo wants a file for every
# target that the manifest names.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src benches && echo 'fn main() {}' > src/main.rs && touch src/lib.rs benches/load.rs benches/limits.rs
RUN --mount=type=cache,target=/usr/local/cargo/registry cargo build --release --locked --bin hooks-backend
COPY src ./src
# The copied files may be older than the build of the empty ones.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    touch src/main.rs src/lib.rs && cargo build --release --locked --bin hooks-backend

# Debian rather than an image without a distribution: the same libc as the build, security updates of it, and a shell with
# which to look into a volume.
FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="hooks-backend" \
      org.opencontainers.image.description="Event store for hook events of AI agents" \
      org.opencontainers.image.licenses="MIT"
# The authorities that sslmode=verify-full trusts.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
# The volume takes over this directory and its owner.
RUN useradd --uid 10001 --user-group --home-dir /data --create-home hooks && install -d -m 700 -o 10001 -g 10001 /data/.agentic
COPY --from=build /build/target/release/hooks-backend /usr/local/bin/hooks-backend
# A number, because runAsNonRoot of Kubernetes cannot tell from a name that it is not root.
USER 10001:10001
WORKDIR /data
VOLUME /data/.agentic
ENV HOST=0.0.0.0 LOG_FORMAT=json
EXPOSE 8080
STOPSIGNAL SIGTERM
# Ready: takes events. A start reads the newest keys of the journal, or after a crash its records.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["hooks-backend", "healthcheck"]
ENTRYPOINT ["hooks-backend"]
