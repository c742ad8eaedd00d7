#!/usr/bin/env bash
# Times two builds of rmnet in turn on software Vulkan, and prints what the second takes of the time of the first.
#   bash benches/before_after.sh BEFORE AFTER
# Each is a checkout that has been built (`cargo build --release && cargo bench --bench conv --no-run`), or a folder with the two
# programs, `rmnet` and `conv`, or the program `rmnet` alone. Without `conv` the kernels that GPUs would get are left out.
#   ROUNDS=5         rounds, of which medians count: each build goes first in every other one
#   NETWORKS="resnet18 resnet50 mobilenet_v2"
#   KINDS="integrated card"      kinds of GPUs whose kernels are timed
#   NETS=/tmp/nets   where the networks are written, once
#   ADAPTER=llvmpipe
# Rows: `run` is a warm run of the network with the adapter's own kernels; `cold` is from the start to the first result and `compile`
# the part of it in which pipelines are made, with nothing kept; `KIND` is the sum over the layers of the kernels that such a GPU would
# get, in processor time, and `KIND compile` how long their pipelines take.
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,/^set/p' "$0" | sed '/^set/d; s/^# \{0,1\}//' >&2; exit 2; }
rounds=${ROUNDS:-5} nets=${NETS:-/tmp/nets} adapter=${ADAPTER:-llvmpipe}
networks=${NETWORKS-resnet18 resnet50 mobilenet_v2} kinds=${KINDS-integrated card}
here=$(cd "$(dirname "$0")" && pwd)

program() { # NAME OF: the program of that name in a checkout, in a folder, or beside rmnet
    local newest
    if [ -d "$2/target/release" ]; then
        if [ "$1" = rmnet ]; then echo "$2/target/release/rmnet"; return; fi
        newest=$(find "$2/target/release/deps" -maxdepth 1 -name "$1-*" -type f -executable -printf '%T@ %p\n' | sort -n | tail -1)
        echo "${newest#* }"
    elif [ -d "$2" ]; then [ ! -x "$2/$1" ] || echo "$2/$1"
    elif [ "$1" = rmnet ]; then echo "$2"
    fi
}
for which in 1 2; do
    of=${!which}
    rmnet[which]=$(program rmnet "$of") conv[which]=$(program conv "$of")
    [ -x "${rmnet[which]}" ] || { echo "no rmnet in $of" >&2; exit 2; }
    [ -n "${conv[which]}" ] || { echo "no conv in $of: GPUs' kernels are left out" >&2; kinds=; }
done
[ -z "$networks" ] || python3 "$here/noise.py" "$nets"
results=$(mktemp)
trap 'rm -f "$results"' EXIT

time_one() { # WHICH ROUND
    local network kind
    for network in $networks; do
        "${rmnet[$1]}" bench "$nets/$network.safetensors" --adapter "$adapter" --tuning none --cache none --json \
            --runs "${RUNS:-20}" --seconds "${RUN_SECONDS:-2}" 2>/dev/null |
            python3 -c '
import json, sys
which, network = sys.argv[1:]
report = json.load(sys.stdin)
cold = report["cold"]
for what, ns in ("run", report["warm"]["end_to_end"]["p50_ns"]), ("cold", cold["total_ns"]), ("compile", cold["compile_ns"]):
    print(which, f"{network} {what}", ns / 1e6, sep="\t")
' "$1" "$network" >>"$results"
        for kind in $kinds; do
            # The networks are those whose shapes the benchmark has.
            (cd "$here/.." && "${conv[$1]}" "$network" --"$kind" --chosen --adapter="$adapter" 2>/dev/null) |
                sed -nE "s/^$network: chosen ([0-9.]+) ms, best [0-9.]+ ms, compile ([0-9.]+) s$/\1 \2/p" |
                while read -r run compile; do
                    printf '%s\t%s %s\t%s\n' "$1" "$network" "$kind" "$run"
                    printf '%s\t%s %s compile\t%s\n' "$1" "$network" "$kind" "$(python3 -c "print($compile * 1e3)")"
                done >>"$results"
        done
    done
}
for ((round = 0; round < rounds; round++)); do
    echo "round $((round + 1)) of $rounds" >&2
    if ((round % 2)); then time_one 2; time_one 1; else time_one 1; time_one 2; fi
done
python3 - "$results" <<'PYTHON'
import statistics, sys
times = {}
for line in open(sys.argv[1]):
    which, what, ms = line.rstrip("\n").split("\t")
    times.setdefault(what, {"1": [], "2": []})[which].append(float(ms))
print(f"{'medians, ms':36} {'before':>10} {'after':>10} {'after/before':>13} {'of the least':>13}  {'spread':>7}")
for what, both in times.items():
    before, after = (statistics.median(both[w]) for w in "12")
    least = min(both["2"]) / min(both["1"])
    # How far one build's rounds are apart: what a ratio has to exceed to mean anything.
    spread = max((max(t) - min(t)) / statistics.median(t) for t in both.values())
    print(f"{what:36} {before:10.1f} {after:10.1f} {after / before:13.3f} {least:13.3f}  {100 * spread:6.0f}%")
PYTHON
