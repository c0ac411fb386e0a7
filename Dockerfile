# msrn serve for others, behind a proxy: no root, a root file system that may be read-only, the base install only.
#   docker build -t msrn .
#   docker run --read-only --cap-drop ALL --tmpfs /var/cache/msrn:uid=10001 -e MSRN_TOKEN=secret -p 127.0.0.1:8765:8765 msrn
FROM python:3.12-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN python -m venv /opt/msrn \
    && /opt/msrn/bin/python -m pip install --no-cache-dir -c constraints.txt ".[serve]"

FROM python:3.12-slim-bookworm
COPY --from=build /opt/msrn /opt/msrn
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin msrn \
    && mkdir /var/cache/msrn \
    && chown msrn /var/cache/msrn
ENV PATH=/opt/msrn/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    MSRN_CACHE=/var/cache/msrn \
    TMPDIR=/var/cache/msrn
USER 10001
WORKDIR /var/cache/msrn
VOLUME /var/cache/msrn
EXPOSE 8765
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8765/readyz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["msrn", "serve", "--host", "0.0.0.0"]
