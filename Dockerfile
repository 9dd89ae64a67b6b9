# SPDX-License-Identifier: Apache-2.0
# An image with the static program, for linux/amd64 and linux/arm64: docs/install.md.
#   docker build --build-arg COMMIT=$(git rev-parse HEAD) -t flowtally .
# BASE is Debian 12, of another registry or of another day for instance.
ARG BASE=docker.io/library/debian:bookworm-slim

# Steps are run by the machine that builds, whatever the image is for: nothing is emulated, a cross compiler is used.
# What changes seldom comes first, since a builder keeps these steps.
FROM --platform=$BUILDPLATFORM $BASE AS libraries
WORKDIR /src
COPY setup ./
RUN ./setup --packages
ARG TARGETARCH
RUN ./setup --packages "$TARGETARCH"
COPY packaging/static packaging/
RUN packaging/static --for "$TARGETARCH" libraries

FROM libraries AS build
COPY . ./
ARG COMMIT=
ARG SOURCE_DATE_EPOCH=
ARG TARGETARCH
RUN packaging/static --for "$TARGETARCH" build build/static "-Dcommit=$COMMIT" && \
    packaging/image build/static /image "$TARGETARCH"

FROM scratch
ARG COMMIT=
LABEL org.opencontainers.image.title="flowtally" \
      org.opencontainers.image.description="Flow exporter that accounts for every packet (IPFIX, NetFlow v9)" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$COMMIT" \
      org.opencontainers.image.source="https://github.com/flowtally/flowtally" \
      org.opencontainers.image.documentation="https://github.com/flowtally/flowtally/blob/main/docs/install.md" \
      org.opencontainers.image.licenses="\
(GPL-2.0-or-later OR LGPL-3.0-or-later) AND (LGPL-2.1-only OR BSD-2-Clause) AND \
Apache-2.0 AND (BSD-2-Clause OR GPL-2.0-only) AND BSD-2-Clause AND GPL-2.0-only AND \
GPL-3.0-or-later WITH GCC-exception-3.1 AND LGPL-2.1-only AND LGPL-2.1-or-later AND MIT AND \
X11-distribute-modifications-variant AND Zlib"
COPY --from=build /image/ /
# Of root, since only root has the capabilities that a container is given, and since the control socket is in no folder that
# another user could change.  No mode lets anybody write.  A health check would be a process every few seconds: /healthz.
ENV PATH=/usr/bin LANG=C.UTF-8
ENTRYPOINT ["/usr/bin/flowtally"]
CMD ["run", "--config", "/etc/flowtally/flowtally.yaml"]
