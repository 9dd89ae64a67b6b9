# SPDX-License-Identifier: Apache-2.0
# An image with the static program, for linux/amd64 and linux/arm64: docs/install.md.
#   docker build --build-arg COMMIT=$(git rev-parse --short=12 HEAD) -t flowtally .
# BASE is Debian 12, of another registry for instance.
ARG BASE=docker.io/library/debian:bookworm-slim

FROM $BASE AS build
WORKDIR /src
# What changes seldom comes first: a builder keeps these steps.
COPY setup ./
RUN ./setup --packages
COPY packaging ./packaging
RUN packaging/static libraries
COPY . ./
ARG COMMIT=
ARG SOURCE_DATE_EPOCH=
RUN packaging/static build build/static "-Dcommit=$COMMIT" && packaging/image build/static /image

FROM scratch
LABEL org.opencontainers.image.title="flowtally" \
      org.opencontainers.image.description="Flow exporter that accounts for every packet (IPFIX, NetFlow v9)" \
      org.opencontainers.image.source="https://github.com/flowtally/flowtally" \
      org.opencontainers.image.licenses="Apache-2.0 AND (BSD-2-Clause OR GPL-2.0-only)"
# Of a user whom nobody is: root without CAP_FOWNER and CAP_DAC_OVERRIDE can write nothing.
COPY --from=build --chown=65532:65532 /image/ /
ENV PATH=/usr/bin LANG=C.UTF-8
ENTRYPOINT ["/usr/bin/flowtally"]
CMD ["run", "--config", "/etc/flowtally/flowtally.yaml"]
