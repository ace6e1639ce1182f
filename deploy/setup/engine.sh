#!/bin/bash
# Make a container engine answer, and end it again: engine.sh start|stop FILE
#
# start: nothing to do where one answers already; else, as root on Debian or Ubuntu, install
#        docker.io, start its dockerd, and note in FILE what was started.
#        Exit status 3: there is none and none can be had.
# stop:  end what FILE notes, and nothing else.
set -euo pipefail
cd "$(dirname "$0")/../.."

log=.windlass/dockerd.log

answers() {
    command -v docker >/dev/null && timeout 10 docker version >/dev/null 2>&1
}

has_systemd() {
    [ -d /run/systemd/system ]
}

is_dockerd() {
    case $(readlink "/proc/$1/exe" || true) in */dockerd) ;; *) return 1 ;; esac
}

none() {
    echo "==> No container engine: $1." >&2
    echo "    Windlass uses the process runtime; what needs containers is left out." >&2
    exit 3
}

install_docker() {
    echo "==> No container engine answers: install docker.io with apt-get (about a minute)"
    deploy/setup/apt-install.sh docker.io
    # In newer releases the docker command is a package of its own.
    command -v docker >/dev/null || deploy/setup/apt-install.sh docker-cli
}

start_docker() {
    if has_systemd; then
        echo "==> Start docker with systemctl"
        systemctl start docker
    else
        echo "==> Start dockerd (its log: $log)"
        mkdir -p .windlass
        # A session of its own: Ctrl-C must reach the tests, not the engine they clean up with.
        setsid dockerd >"$log" 2>&1 </dev/null &
        echo $! >"$file"
    fi
}

wait_for_docker() {
    for _ in $(seq 120); do
        if answers; then return; fi
        sleep 0.25
        if ! has_systemd && ! readlink -q "/proc/$(cat "$file")/exe" >/dev/null; then break; fi
    done
    stop
    tail -n 5 "$log" >&2 || true
    none "dockerd does not come up (its last lines are above, all of them in $log)"
}

start() {
    if answers; then return; fi
    if [ -n "${DOCKER_HOST:-}" ]; then none "nothing answers at DOCKER_HOST=$DOCKER_HOST"; fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        none "docker does not answer, and only root on Debian or Ubuntu can have it installed here.
    Next step: install and start Docker, join the group docker, or run this as root"
    fi
    touch "$file"
    if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then install_docker; fi
    if ! answers; then
        start_docker
        wait_for_docker
    elif [ /var/run/docker.pid -nt "$file" ]; then # installing the package has started it
        cp /var/run/docker.pid "$file"
    fi
    if has_systemd; then echo systemd >"$file"; fi
    echo "==> The engine answers: Docker $(docker version --format '{{.Server.Version}}')"
}

stop() {
    if [ ! -e "$file" ]; then return; fi # a start that failed has ended what it began
    started=$(cat "$file")
    rm -f "$file"
    if [ -z "$started" ]; then return; fi
    echo "==> Stop the container engine that was started for this"
    if [ "$started" = systemd ]; then
        systemctl stop docker.socket docker
        return
    fi
    is_dockerd "$started" || return 0
    kill "$started" # it ends its containers and its containerd
    for _ in $(seq 120); do
        is_dockerd "$started" || return 0
        sleep 0.25
    done
    echo "error: dockerd (pid $started) does not stop; its log: $log" >&2
    exit 1
}

file=${2:-}
case $1:$file in
start:?* | stop:?*) "$1" ;;
*)
    echo "usage: engine.sh start|stop FILE" >&2
    exit 2
    ;;
esac
