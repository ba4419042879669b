#!/bin/sh
# What an agent tries that wants the Hub's key, another's files or another's processes. Says
# `BREACH` for each that succeeds, and in the end how many it has tried.
# usage: attack.sh FIRST-HALF-OF-THE-KEY SECOND-HALF STATE-DIR
# shellcheck disable=SC2016 # each try's own shell reads what it is given
key=$1$2
state=$3
tried=0

try() { # what it is, command...
    what=$1
    shift
    tried=$((tried + 1))
    if "$@" >/dev/null 2>&1; then
        echo "BREACH: $what"
    fi
}
holds() { grep -qaF "$key" "$1"; }
append() { printf x >>"$1"; }
replace() { rm "$1" && printf x >"$1"; }
create() { printf x >"$1/forged"; }
shows() { [ -n "$(ls -A "$1")" ]; }
asks() { curl --silent --fail --max-time 2 --unix-socket "$1" "http://localhost/$2"; }
connects() { curl --silent --max-time 2 --unix-socket "$1" http://localhost/ || [ $? -ne 7 ]; }

# its own environment
try "the key is in the environment" sh -c 'env | grep -qF "$0"' "$key"
# processes of others: what ptrace would have to be allowed for
own=$(id -u)
for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    uid=$(awk '/^Uid:/ { print $2 }' "$process/status" 2>/dev/null)
    try "the key is among the arguments of $pid" holds "$process/cmdline"
    if [ -z "$uid" ] || [ "$uid" = "$own" ] && [ "$own" != 0 ]; then
        continue
    fi
    try "the environment of $pid" sh -c 'cat "$0" | grep -q .' "$process/environ"
    try "the memory of $pid" dd if="$process/mem" of=/dev/null bs=1 count=0
    try "the descriptors of $pid" shows "$process/fd"
    try "the maps of $pid" sh -c 'grep -q . "$0"' "$process/maps"
    try "the root folder of $pid" ls "$process/root"/.
    try "a signal to $pid" kill -CONT "$pid"
    for fd in 0 1 2 3 4 5 6 7 8 9 10 11 12; do
        try "descriptor $fd of $pid" sh -c 'exec 9<>"$0"' "$process/fd/$fd"
    done
done
# files
for folder in /etc /home /root /run /tmp /var /workspace "$state"; do
    try "the key is in a file below $folder" sh -c 'grep -rqaF "$0" "$1"' "$key" "$folder"
done
try "the names in the state dir" sh -c 'ls "$0" | grep -q journal' "$state"
try "the journal" cat "$state/journal.db"
try "a file in the state dir" create "$state"
# the run: what is told of this very process
runs="$state/runs"
mark=$(tr '\0' '\n' </proc/1/cmdline | grep '/runs/' || true)
own_run=${mark##*/}
try "the names of others' runs" sh -c 'ls "$0" | grep -qv "$1"' "$runs" "${own_run:-none}"
for run in "$runs"/* $mark; do
    for file in spool.raw status.json plan.json input.raw stderr.log shim.log prompt.txt; do
        try "the run's $file can be added to" append "$run/$file"
        try "the run's $file can be replaced" replace "$run/$file"
    done
    try "a file in the run's folder" create "$run"
    try "the run's control socket" connects "$run/control.sock"
    try "the run's folder can be moved" mv "$run" "$run.old"
done
# the daemon's interfaces
try "the API's socket" asks "$state/api.sock" healthz
try "the API's sessions" asks "$state/api.sock" v1/sessions
try "the engine's socket" connects /var/run/docker.sock
try "another name for the state dir" mv "$state" "$state.old"
# rights
try "root by su" sh -c 'echo | su -c id root'
try "a new owner" chown 0:0 /tmp
try "a mount" mount -t tmpfs none /mnt
try "a namespace of its own with root's rights" unshare --mount --map-root-user mount -t tmpfs none /mnt
try "the kernel's settings" sh -c 'echo x >/proc/sys/kernel/core_pattern'
try "the program" append /.agent-runner
try "the program" append /usr/local/bin/agent-runner
echo "tried $tried"
