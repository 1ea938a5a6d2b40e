# syntax=docker/dockerfile:1
# Builds on the builder's architecture for that of the image. Base images are pinned by tag. Pin digests for builds that must be reproducible later.

FROM --platform=$BUILDPLATFORM rust:1.95.0-slim-bookworm AS build
# Each RUN sets -eu itself, because the OCI format, which podman and buildah use, ignores SHELL.

ARG BUILDARCH
ARG TARGETARCH
# C compiler for another architecture. Debian's mirrors drop a pinned version at the next point release.
# hadolint ignore=DL3008
RUN set -eu; \
    case "$TARGETARCH" in \
      amd64) triple=x86_64-unknown-linux-gnu; gcc="gcc-x86-64-linux-gnu" ;; \
      arm64) triple=aarch64-unknown-linux-gnu; gcc="gcc-aarch64-linux-gnu" ;; \
      *) echo "no recipe for $TARGETARCH" >&2; exit 1 ;; \
    esac; \
    if [ "$TARGETARCH" != "$BUILDARCH" ]; then \
      apt-get update; \
      apt-get install --yes --no-install-recommends "$gcc" "libc6-dev-$TARGETARCH-cross"; \
      rm -rf /var/lib/apt/lists/*; \
    fi; \
    rustup target add "$triple"; \
    echo "$triple" > /triple

WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
COPY src src
COPY benches benches
COPY tests/protocol tests/protocol

# Reproducible build: the program contains no data of the builder. Backtraces have names but no line numbers.
ARG SOURCE_DATE_EPOCH=0
# Revision that the program reports, since the context has no repository. build.rs reads it as TWINTIER_REVISION.
ARG IMAGE_REVISION=""
ENV CARGO_INCREMENTAL=0 \
    CARGO_PROFILE_RELEASE_STRIP=debuginfo \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    RUSTFLAGS="--remap-path-prefix=/src=. --remap-path-prefix=/usr/local/cargo=cargo"
# Default configuration file, whose addresses allow published ports. Another file replaces it; variables and flags override it.
RUN set -eu; \
    install -d /out/etc/twintier; \
    printf '%s\n' 'server: {listen: "0.0.0.0:50051"}' 'admin: {listen: "0.0.0.0:9090"}' > /out/etc/twintier/twintier.yaml; \
    touch --no-create --date "@$SOURCE_DATE_EPOCH" /out/etc/twintier/twintier.yaml
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=target-$TARGETARCH \
    set -eu; \
    triple=$(cat /triple); \
    TWINTIER_REVISION="$IMAGE_REVISION" cargo build --release --locked --bin twintier --target "$triple"; \
    install -D --mode 755 "target/$triple/release/twintier" /out/usr/local/bin/twintier; \
    touch --no-create --date "@$SOURCE_DATE_EPOCH" /out/usr/local/bin/twintier

# Contains glibc, libgcc and certificates, which is all that the program needs.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG IMAGE_VERSION="0.1.0"
ARG IMAGE_REVISION=""
ARG IMAGE_CREATED=""
LABEL org.opencontainers.image.version="$IMAGE_VERSION" \
      org.opencontainers.image.revision="$IMAGE_REVISION" \
      org.opencontainers.image.created="$IMAGE_CREATED" \
      org.opencontainers.image.title="twintier" \
      org.opencontainers.image.description="A gRPC cache in two tiers, the memory of each replica over a shared Redis" \
      org.opencontainers.image.source="https://github.com/twintier/twintier" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/ /
ENV TWINTIER_CONFIG=/etc/twintier/twintier.yaml
USER 65532:65532
EXPOSE 50051 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=6 CMD ["/usr/local/bin/twintier", "health", "liveness"]
# The program prints completions of shells and manual pages: docs/install.md.
ENTRYPOINT ["/usr/local/bin/twintier"]
CMD ["serve"]
