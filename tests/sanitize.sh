#!/bin/bash
# sanitize.sh [PYTEST ARGUMENT ...]: the tests of the compiled rooms under AddressSanitizer and UndefinedBehaviorSanitizer.
#
# The rooms are built with bounds checks in a copy of the tree under build/sanitize, so the tree's own extensions stay
# as they are.  A report of a sanitizer ends the run with an error.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
work=$root/build/sanitize
flags="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined"
tests=(tests/test_message.py tests/test_torture.py tests/test_framing.py tests/test_serialize.py tests/test_uri.py
    tests/test_fields.py tests/test_instruction_sets.py tests/test_names.py tests/test_timers.py tests/test_connections.py
    tests/test_transactions.py tests/test_engine.py tests/test_server.py tests/test_group.py)

mkdir -p "$work"
for item in sipcore src_pyx tests setup.py pyproject.toml README.md LICENSE; do
    rm -rf "${work:?}/$item"
    cp -r "$root/$item" "$work/"
done
find "$work/sipcore" -name '*.so' -delete
cd "$work"
SIPCORE_DEBUG=1 CFLAGS="$flags" LDFLAGS="-fsanitize=address,undefined" \
    "$python" setup.py -q build_ext -i >build.log 2>&1 || { tail -30 build.log >&2; exit 1; }

chosen=()
for test in "${tests[@]}"; do
    [ -e "$test" ] && chosen+=("$test")
done
compiler=${CC:-cc}
LD_PRELOAD="$($compiler -print-file-name=libasan.so) $($compiler -print-file-name=libubsan.so)" \
    ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 PYTHONMALLOC=malloc \
    PYTHONPATH="$work" "$python" -m pytest -q -p no:cacheprovider -m "not interop and not slow" "${chosen[@]}" "$@"
