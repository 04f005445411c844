# The gateway in a small image: no shell, no package manager, not root, works with a read-only root.
# docs/image.md tells how to build it without a registry.

ARG BUILD_IMAGE=docker.io/library/rust:1.95-bookworm
ARG FINAL_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /build

# The dependencies, in a layer of their own: it is built anew only when the manifests change.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests/it \
 && echo 'fn main() {}' > src/main.rs \
 && touch src/lib.rs tests/it/main.rs \
 && cargo build --locked --release \
 && rm -r src tests

COPY openapi.yaml ./
COPY src src
# Cargo goes by times, and the stub's may be later than the sources'.
RUN mkdir -p tests/it && touch tests/it/main.rs src/main.rs src/lib.rs \
 && cargo build --locked --release --bin fanfold \
 && install -D --mode 0755 target/release/fanfold /image/usr/local/bin/fanfold \
 # What proves upstream's certificate; a base without it would refuse every connection.
 && install -D --mode 0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt

FROM ${FINAL_IMAGE}

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fanfold" \
      org.opencontainers.image.description="Every execution of a voice agent from one request: a caching aggregation gateway" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

COPY --from=build /image/ /

# By number, so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/fanfold"]
CMD ["serve"]
