#!/bin/bash
# coverage.sh [PYTEST ARGUMENT ...]: which lines of the compiled rooms their tests reach.
#
# The rooms are built with line tracing, which makes them slow, in a copy of the tree under build/coverage.  The generated
# C stays beside each room there, because that is where the tracer looks for it.  COVERAGE_ROOMS and COVERAGE_TESTS choose
# others.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
work=$root/build/coverage
rooms=${COVERAGE_ROOMS:-_uri _fields _head _message _serialize _framing}
tests=${COVERAGE_TESTS:-test_message test_limits test_torture test_framing test_serialize test_uri test_fields
    test_instruction_sets test_names test_fuzz test_headers_registry test_reference test_proxy test_engine test_streams}

mkdir -p "$work"
for item in sipcore src_pyx tests setup.py pyproject.toml README.md LICENSE; do
    rm -rf "${work:?}/$item"
    cp -r "$root/$item" "$work/"
done
find "$work/sipcore" -name '*.so' -delete
cd "$work"
SIPCORE_TRACE=1 CFLAGS="-O1 -DCYTHON_TRACE_NOGIL=1 -DCYTHON_USE_SYS_MONITORING=0" \
    "$python" setup.py -q build_ext -i >build.log 2>&1 || { tail -30 build.log >&2; exit 1; }
cat >.coveragerc <<END
[run]
plugins = Cython.Coverage
include = $(printf 'src_pyx/sipcore/%s.pyx,' $rooms | sed 's/,$//')
[report]
exclude_also =
    cdef extern
END
chosen=()
for test in $tests; do
    chosen+=("tests/$test.py")
done
"$python" -m coverage erase
PYTHONPATH=$work "$python" -m coverage run -m pytest -q -p no:cacheprovider -p no:xdist -m "not interop and not slow" \
    "${chosen[@]}" "$@"
"$python" -m coverage report -m
