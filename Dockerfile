# The exporter alone, with the versions and hashes of requirements.txt. docs/docker.md explains how to run it.

FROM python:3.13-slim-trixie AS build
WORKDIR /src
# Without pip, so that what is copied to the next stage cannot install anything.
RUN python -m venv --without-pip /opt/exporter
COPY requirements.txt ./
# Wheels only: the build runs no foreign code and needs no compiler.
RUN pip --python /opt/exporter/bin/python install --no-cache-dir --disable-pip-version-check --root-user-action ignore \
        --only-binary :all: --require-hashes --requirement requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
# setuptools is in the lock file because it builds this project; the running program does not need it.
RUN pip --python /opt/exporter/bin/python install --no-cache-dir --disable-pip-version-check --root-user-action ignore \
        --no-deps --no-build-isolation . \
    && /opt/exporter/bin/python -P -c "from exporter.web.rendering import compile_templates; compile_templates()" \
    && pip --python /opt/exporter/bin/python uninstall --yes --root-user-action ignore setuptools

FROM python:3.13-slim-trixie
LABEL org.opencontainers.image.title="cliproxy-exporter" \
      org.opencontainers.image.description="Prometheus exporter for CLIProxyAPI: durable cost, token and limit metrics" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
# A numeric user, so that Kubernetes can see that it is not root. /data exists here, so that a new volume belongs to that user.
RUN groupadd --gid 10001 exporter \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin exporter \
    && install --directory --owner 10001 --group 10001 --mode 0700 /data \
    && install --directory /app
COPY --from=build /opt/exporter /opt/exporter
ENV PATH=/opt/exporter/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    EXPORTER_HOST=0.0.0.0 \
    EXPORTER_DATA_DIR=/data
WORKDIR /app
USER 10001:10001
VOLUME /data
EXPOSE 9317
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-m", "exporter.commands.healthcheck"]
ENTRYPOINT ["cliproxy-exporter"]
