#!/bin/bash
# run.sh SECONDS [TARGET ...]: fuzz each target for that long, FUZZ_JOBS (2) at a time; exit 1 if one finds something.
#
# Everything is made under build/fuzz: a virtual environment with the fuzzer, and a
# copy of the sources compiled by clang with AddressSanitizer and coverage.  What a
# target finds is kept in build/fuzz/findings; a finding becomes a file in corpus/TARGET.
# New inputs stay in build/fuzz/corpus; `run.sh merge` takes over the few that reach what no other does.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$root/build/fuzz
python=${PYTHON:-python3}
seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(scan parse edit differential framer uri headers sdp body dns_reply websocket_frames)
rooms="_uri _fields _head _message _serialize _framing"

missing() {                     # missing WHAT: a gap is a failure in CI, and said loudly elsewhere
    echo "fuzz: $1 is missing: apt-get install clang libclang-rt-14-dev" >&2
    [ -z "${CI:-}" ] && exit 0
    exit 1
}

find_clang() {
    if ! command -v clang >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        (apt-get update -qq && apt-get install -y -qq clang libclang-rt-14-dev) >/dev/null 2>&1 || true
    fi
    command -v clang >/dev/null || missing clang
}

make_environment() {
    [ -e "$work/venv/ready" ] && [ "$work/venv/ready" -nt "$here/run.sh" ] && return
    "$python" -m venv "$work/venv"
    "$work/venv/bin/python" -m pip install -q 'atheris==3.0.0' 'Cython>=3.2,<4' 'setuptools>=80' 'dnspython>=2.7' 'websockets>=17'
    touch "$work/venv/ready"
}

# The rooms that octets reach, compiled by clang in a copy of the tree: the tree's own extensions stay as they are.
build_rooms() {
    local room
    mkdir -p "$work/tree/src_pyx/sipcore"
    cp -r "$root/sipcore" "$root/setup.py" "$work/tree/"
    rm -f "$work"/tree/sipcore/*.so
    cp -r "$root"/src_pyx/sipcore/{c,*.pxd} "$work/tree/src_pyx/sipcore/"
    for room in $rooms; do
        cp -p "$root/src_pyx/sipcore/$room.pyx" "$work/tree/src_pyx/sipcore/"
    done
    (cd "$work/tree" && CC=clang LDSHARED="clang -shared" \
        CFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address" LDFLAGS="-fsanitize=fuzzer-no-link,address" \
        "$work/venv/bin/python" setup.py -q build_ext -i --build-lib "$work/lib" >"$work/build.log" 2>&1) || {
        tail -20 "$work/build.log" >&2
        exit 1
    }
}

build_scan() {
    clang -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
        -I"$root/src_pyx/sipcore/c" "$here/fuzz_scan.c" "$root/src_pyx/sipcore/c/scan.c" -o "$work/scan"
}

run() {                         # run TARGET OPTION...
    local target=$1
    shift
    if [ "$target" = scan ]; then
        "$work/scan" "$@"
    else
        LD_PRELOAD="$work/venv/lib/$version/site-packages/asan_with_fuzzer.so" ASAN_OPTIONS=detect_leaks=0 \
            PATH="$work/venv/bin:$PATH" PYTHONPATH="$work/tree" FUZZ_TARGET="$target" \
            "$work/venv/bin/python" "$here/fuzz.py" "$@"
    fi
}

seeds() {                       # seeds TARGET: the folders of examples beside its own corpus
    case $1 in
    scan | parse | differential | framer) echo "$root/tests/corpus $root/tests/torture/rfc4475 $root/tests/torture/rfc5118" ;;
    esac
}

fuzz() {                        # fuzz TARGET
    local target=$1 log=$work/$1.log
    mkdir -p "$work/corpus/$target" "$work/findings" "$here/corpus/$target"
    # shellcheck disable=SC2046  # one folder a word
    if ! run "$target" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$work/findings/$target-" "$work/corpus/$target" "$here/corpus/$target" $(seeds "$target") \
        >"$log" 2>&1; then
        echo "fuzz: $target found something: $(tail -60 "$log")"
        return 1
    fi
    echo "fuzz: $target for $seconds s, $(grep -Eo 'number_of_executed_units: [0-9]+' "$log" | grep -Eo '[0-9]+') runs," \
        "$(grep -Eo 'cov: [0-9]+ ft: [0-9]+ corp: [0-9]+' "$log" | tail -1)"
}

mkdir -p "$work"
find_clang
make_environment
version=$("$work/venv/bin/python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
build_rooms
build_scan
if [ "$seconds" = merge ]; then
    for target in "${targets[@]}"; do
        mkdir -p "$here/corpus/$target"
        run "$target" -set_cover_merge=1 -use_counters=0 -max_len=600 \
            "$here/corpus/$target" "$work/corpus/$target" >"$work/$target.log" 2>&1
        echo "fuzz: $target has $(find "$here/corpus/$target" -type f | wc -l) inputs"
    done
    exit 0
fi
running=0 failed=0
for target in "${targets[@]}"; do
    if [ "$running" -ge "${FUZZ_JOBS:-2}" ]; then
        wait -n || failed=1
        running=$((running - 1))
    fi
    fuzz "$target" &
    running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
done
[ "$failed" = 0 ] || { echo "fuzz: something was found (see $work/findings)" >&2; exit 1; }
