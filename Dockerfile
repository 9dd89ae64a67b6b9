# SPDX-License-Identifier: Apache-2.0
# An image with the static program, for linux/amd64 and linux/arm64: docs/install.md.
#   docker build --build-arg COMMIT=$(git rev-parse --short=12 HEAD) -t flowtally .
# BASE is Debian 12, of another registry for instance.
ARG BASE=docker.io/library/debian:bookworm-slim

# What changes seldom: a builder keeps these steps.
FROM $BASE AS libraries
WORKDIR /src
COPY setup ./
RUN ./setup --packages
COPY packaging ./packaging
RUN packaging/static libraries

FROM libraries AS build
COPY . ./
ARG COMMIT=
ARG SOURCE_DATE_EPOCH=
RUN packaging/static build build/static "-Dcommit=$COMMIT" && packaging/image build/static /image

FROM scratch
LABEL org.opencontainers.image.title="flowtally" \
      org.opencontainers.image.description="Flow exporter that accounts for every packet (IPFIX, NetFlow v9)" \
      org.opencontainers.image.source="https://github.com/flowtally/flowtally" \
      org.opencontainers.image.licenses="Apache-2.0 AND (BSD-2-Clause OR GPL-2.0-only)"
# Of root, since the control socket is in no folder that another user could change; no mode lets anybody write.
COPY --from=build /image/ /
ENV PATH=/usr/bin LANG=C.UTF-8
ENTRYPOINT ["/usr/bin/flowtally"]
CMD ["run", "--config", "/etc/flowtally/flowtally.yaml"]
