# Where models are made, measured and served on an x86-64 or arm64 CPU; from the root of the repository:
#
#   docker build -f scripts/docker/cpu.Dockerfile -t edgelm .
#   docker run --rm -v "$PWD:/work" edgelm doctor
#
# The rights of what it writes are those of --user. Not tried: no Docker was at hand when this was written.
FROM python:3.12-slim
RUN pip install --no-cache-dir torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY edgelm edgelm
COPY recipes recipes
COPY devices devices
COPY calibration_data calibration_data
# hadolint ignore=DL3013
RUN pip install --no-cache-dir '.[compress,report,search,generate,gguf,serve,sign]'
ENV HOME=/tmp XDG_CACHE_HOME=/tmp/cache
WORKDIR /work
ENTRYPOINT ["edgelm"]
