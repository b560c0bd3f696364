FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src ./src
# The manifest names the benchmarks, so cargo needs their files.
COPY benches ./benches
RUN cargo build --release --locked --bin hooks-backend

FROM debian:bookworm-slim
# The authorities that sslmode=verify-full trusts.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --create-home --home-dir /data hooks
COPY --from=build /build/target/release/hooks-backend /usr/local/bin/hooks-backend
USER hooks
WORKDIR /data
# The volume takes over this directory and its owner.
RUN mkdir -m 700 /data/.agentic
VOLUME /data/.agentic
ENV HOST=0.0.0.0 LOG_FORMAT=json
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["hooks-backend", "healthcheck"]
ENTRYPOINT ["hooks-backend"]
