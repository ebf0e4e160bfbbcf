# One image for every role: docker run … product-catalog api|bridge|sync|reconcile
#
# The stage `development`, which is never deployed to production, adds the fake supply chain and the
# script that creates the queues.

# By digest, that of the index for linux/amd64 and linux/arm64; the tag says what it is. In the one line
# with FROM that Dependabot reads. How to check and to renew it, and a mirror: docs/kubernetes.md, Images.
FROM python:3.13.15-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b AS system

FROM system AS build
WORKDIR /build
COPY requirements/build.txt requirements/container.txt /
# No file but those whose hashes are pinned. nkeys has no wheel, and is built by what is pinned too.
# Only Chalice's command line needs pip, setuptools and wheel; the roles do not.
RUN python3 -m venv /venv \
 && pip="/venv/bin/python -m pip install --no-cache-dir --require-virtualenv --require-hashes" \
 && $pip --only-binary=:all: -r /build.txt \
 && $pip --only-binary=:all: --no-binary=nkeys --no-build-isolation -r /container.txt \
 && /venv/bin/python -m pip uninstall --yes setuptools wheel pip
COPY app.py ./
COPY chalicelib ./chalicelib
COPY functions ./functions
# Compiled here, since the file system of a running container is read-only.
RUN /venv/bin/python -m compileall -q .

FROM system AS base
# No pip in the final image.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3.*/site-packages/* \
    /usr/local/lib/python3.*/ensurepip
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    API_HOST=0.0.0.0 \
    PORT=8000
WORKDIR /srv
COPY --from=build --chown=0:0 /build/ ./
# By number, so that Kubernetes can see that it is not root. It may write to /tmp only.
USER 10001:10001
EXPOSE 8000

FROM base AS development
COPY embedded ./embedded
# A new volume that is mounted here gets the owner of this folder.
USER 0
RUN install -d -o 10001 -g 10001 /data
USER 10001:10001
ENTRYPOINT []
CMD ["python", "-m", "embedded.fake_supply_chain", "--host", "0.0.0.0", "--port", "8900"]

# The last stage is the one that is built by default.
FROM base AS catalog
ENTRYPOINT ["python", "-m", "functions.run", "--heartbeat", "/tmp/heartbeat"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-m", "functions.alive", "/tmp/heartbeat"]
