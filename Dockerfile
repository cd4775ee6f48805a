# syntax=docker/dockerfile:1

FROM rust:1.95.0-slim-bookworm AS build
# A C compiler and CMake: aws-lc (TLS, signatures) and SQLite are compiled from source and linked in.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cmake g++ gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The target folder is a cache that lives outside the layers, so the binary is copied out in the same step.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --locked --release --package quire --bin quire \
    && install -D --mode=0755 target/release/quire /out/usr/local/bin/quire \
    && install -D --mode=0644 --target-directory=/out/usr/share/doc/quire LICENSE-MIT LICENSE-APACHE \
    && install -d --mode=0750 --owner=65532 --group=65532 /out/data

# glibc, libgcc and CA certificates; no shell, no package manager. The user `nonroot` is 65532:65532.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/usr /usr
# Copied by itself: ownership has to survive, so that a fresh named volume mounted here is writable.
COPY --from=build --chown=65532:65532 /out/data /data
# An image that was started without settings must not behave as a development machine.
ENV QUIRE_ENV=production \
    QUIRE_LOG_FORMAT=json \
    QUIRE_DATA_DIR=/data
WORKDIR /data
USER 65532:65532
VOLUME ["/data"]
# gateway, auth, document, payment, background-job, sandbox; metrics where QUIRE_METRICS_LISTEN says so
EXPOSE 8080 50051 50052 50053 50054 12111 9464
# No HEALTHCHECK: the port depends on the role. See `quire probe` in docker-compose.yml.
ENTRYPOINT ["/usr/local/bin/quire"]
CMD ["serve"]
