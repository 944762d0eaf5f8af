# Where bundles run on a Jetson with JetPack 6: builds engines, proves and measures them; no torch. On the Jetson, from the
# root of the repository:
#
#   docker build -f scripts/docker/jetson.Dockerfile -t edgelm-jetson .
#   docker run --rm --runtime nvidia -v "$PWD:/work" edgelm-jetson build my-model.edge
#
# The base image brings CUDA and TensorRT with its Python bindings. Its tag must be that of the Jetson's own release
# (`cat /etc/nv_tegra_release`: R36.4 is JetPack 6.1 and 6.2). Not tried: neither a Jetson nor Docker was at hand when
# this was written.
ARG L4T=r36.4.0
FROM nvcr.io/nvidia/l4t-jetpack:${L4T}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv --system-site-packages /opt/edgelm
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY edgelm edgelm
COPY recipes recipes
COPY devices devices
COPY calibration_data calibration_data
# The driver of JetPack 6 is that of CUDA 12: bindings of CUDA 13 do not start on it.
RUN /opt/edgelm/bin/pip install --no-cache-dir '.[tensorrt,sign]' 'cuda-bindings<13'
ENV PATH=/opt/edgelm/bin:$PATH
WORKDIR /work
ENTRYPOINT ["edgelm"]
