# One image for every role: docker run … product-catalog api|bridge|sync|reconcile
#
# The stage `development`, which is never deployed to production, adds the fake supply chain, the
# keeper of the queues and the signer of tokens.

FROM python:3.13.7-slim-trixie AS build
WORKDIR /build
COPY requirements/container.txt /
# Chalice's command line asks for pip, setuptools and wheel; what it runs with does not.
RUN python3 -m venv /venv \
 && /venv/bin/python -m pip install --no-cache-dir --require-virtualenv -r /container.txt \
 && /venv/bin/python -m pip uninstall --yes setuptools wheel pip
COPY app.py ./
COPY chalicelib ./chalicelib
COPY functions ./functions
# Compiled here, since the end image's file system is read-only.
RUN /venv/bin/python -m compileall -q .

FROM python:3.13.7-slim-trixie AS base
# No installer in the end image.
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
# By number, so that Kubernetes can see that it is not root. Nothing of it is writable but /tmp.
USER 10001:10001
EXPOSE 8000

FROM base AS development
COPY embedded ./embedded
# A new volume that is mounted here takes over the owner.
USER 0
RUN install -d -o 10001 -g 10001 /data
USER 10001:10001
ENTRYPOINT []
CMD ["python", "-m", "embedded.fake_supply_chain", "--host", "0.0.0.0", "--port", "8900"]

# The last stage: what is built when none is named.
FROM base AS catalog
ENTRYPOINT ["python", "-m", "functions.run", "--heartbeat", "/tmp/heartbeat"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-m", "functions.alive", "/tmp/heartbeat"]
