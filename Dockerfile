# Three images from one file: the engine (last, the default), its build stage, and Prometheus with our rules.
# Nothing here needs BuildKit.

# -- build: wheel and virtual environment ----------------------------------------------------------------
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# A compiler, and the headers where this Python comes without its own.
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends gcc libc6-dev \
 && { test -e "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" \
      || apt-get install -y -qq --no-install-recommends python3-dev; } \
 && rm -rf /var/lib/apt/lists/*
# What changes rarely first: a change of the code alone downloads nothing. All versions are those of the lock.
COPY pyproject.toml requirements.lock ./
COPY tools/dependencies.py tools/
RUN python3 -m venv /build && /build/bin/python tools/dependencies.py install build \
 && python3 -m venv --without-pip /opt/tickring \
 && /build/bin/python tools/dependencies.py install --into /opt/tickring/bin/python run
COPY setup.py README.md LICENSE ./
COPY config/tickring.toml config/
COPY config/venues config/venues
COPY docs/conformance.md docs/
COPY shm shm
COPY workers workers
COPY engine engine
COPY tickring tickring
COPY tickring_command.py ./
RUN LDFLAGS=-s /build/bin/pip wheel -q --no-deps --no-build-isolation -w /wheel . \
 && /build/bin/pip --python /opt/tickring/bin/python install -q --no-deps /wheel/*.whl \
 && find /opt/tickring/lib -path '*/site-packages/*' -name '*.c' -delete \
 && /opt/tickring/bin/python -m compileall -q /opt/tickring/lib
RUN mkdir /empty

# -- Prometheus with its configuration and rules ---------------------------------------------------------
FROM prom/prometheus:v2.42.0 AS prometheus
COPY --chown=65534:65534 config/prometheus /etc/prometheus
# A new named volume takes its owner from this folder.
COPY --from=build --chown=65534:65534 /empty /prometheus
USER 65534:65534

# -- the engine, the simulated venue and the readers -----------------------------------------------------
FROM python:3.11-slim-bookworm AS tickring
COPY --from=build /opt/tickring /opt/tickring
ENV PATH=/opt/tickring/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --chown=10001:10001 examples /opt/tickring/examples
COPY --chown=10001:10001 config/compose /etc/tickring
USER 10001:10001
# Every enabled feed is LIVE. -I: nothing of the environment or the working folder can get in the way.
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 \
  CMD ["python", "-I", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9464/readyz', timeout=3)"]
CMD ["tickring", "up"]
