# An image for a worker of yours: build with your project as context, after copying this
# file. flowd's own repository builds its email example with it.
#
#   docker build -t worker . && docker run -e FLOWD_URL=redis://host:6379 worker

FROM python:3.13-slim AS build
WORKDIR /build
COPY pyproject.toml README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE ./
COPY flowd flowd
COPY codegen codegen
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir '.[gen,uvloop,metrics]'
COPY schemas schemas
COPY examples examples
RUN /venv/bin/flowd-gen schemas/ -o jobs/

FROM python:3.13-slim
RUN useradd --system --uid 10001 --create-home --home-dir /app worker
COPY --from=build /venv /venv
COPY --from=build --chown=worker /build/examples /app/examples
COPY --from=build --chown=worker /build/jobs /app/jobs
WORKDIR /app
USER 10001
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
EXPOSE 9000
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=6 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9000/healthz')"]
# A list, so that flowd itself gets SIGTERM; stop it with a longer time than its grace.
CMD ["flowd", "run", "examples.email_service:queues", "--grace", "25", \
     "--metrics-port", "9000", "--metrics-host", "0.0.0.0"]
