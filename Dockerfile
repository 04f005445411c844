# An image with the binary, the C library that it was linked with, and CA certificates. It has no shell and no package manager,
# does not run as root, and works with a read-only root. docs/image.md describes it, with measurements, and how to build it
# without a registry.

# Any Debian release with Rust, a C compiler and CA certificates. The runtime files come from this image too, so that
# build and runtime can't differ.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-bookworm

FROM ${BUILD_IMAGE} AS build
WORKDIR /build

COPY scripts/build-release scripts/
# The dependencies have their own layer, which is rebuilt only when the manifests change.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests/it benches/loops \
 && echo 'fn main() {}' > src/main.rs \
 && touch src/lib.rs tests/it/main.rs benches/loops/main.rs \
 && scripts/build-release \
 && rm -r src tests benches

COPY openapi.yaml ./
COPY console console
COPY src src
# Cargo compares modification times, and the stub may be newer than the sources.
RUN mkdir -p tests/it benches/loops && touch tests/it/main.rs benches/loops/main.rs src/main.rs src/lib.rs \
 && scripts/build-release

# Only what is needed at run time. The loader finds the libraries in these places without a cache, and the C library has
# contained the resolver for files and DNS since 2.34. The last loop tells vulnerability scanners which packages the files are from.
RUN install -D --mode 0755 target/release/fanfold /image/usr/local/bin/fanfold \
 && for word in $(ldd target/release/fanfold); do \
      case $word in /*) cp --dereference --parents --target-directory /image "$word" || exit 1 ;; esac; \
    done \
 && install -D --mode 0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
 && echo 'hosts: files dns' > /image/etc/nsswitch.conf \
 && echo 'nonroot:x:65532:65532:nonroot:/nonexistent:/sbin/nologin' > /image/etc/passwd \
 && echo 'nonroot:x:65532:' > /image/etc/group \
 && cp /etc/os-release /image/etc/os-release \
 && mkdir -p /image/var/lib/dpkg/status.d \
 && for package in libc6 libgcc-s1 ca-certificates; do \
      dpkg-query --status "$package" > "/image/var/lib/dpkg/status.d/$package" \
        && install -D --mode 0644 "/usr/share/doc/$package/copyright" "/image/usr/share/doc/$package/copyright" \
        || exit 1; \
    done

FROM scratch

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fanfold" \
      org.opencontainers.image.description="Every execution of a voice agent from one request: a caching aggregation gateway" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

COPY --from=build /image/ /

# After a peak, the allocator returns memory within hundreds of requests instead of tens of thousands: docs/operations.md, Memory.
ENV MIMALLOC_GENERIC_COLLECT=500

# A number, so that Kubernetes can verify that it is not root.
USER 65532:65532
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/fanfold"]
CMD ["serve"]
