#!/usr/bin/env bash
# Tests and figures of a GPU, in eight minutes, on a machine with Python, torch and torchvision.
#
#   benchmarks/gpu/run.sh [--device cuda|cpu] [--output DIR] [--wheels DIR] [--seconds N]
#
# Wheels (benchmarks/gpu/wheels.py) are unpacked beside the checkout, without a network and without
# touching the machine's own packages. DIR gets tests.log, figures.json and figures.md. PYTHON names
# another interpreter than python3. N is 470, of a rehearsal 7200. Nothing of it needs more than one GPU; of several, the tests
# look at each.
set -uo pipefail
cd "$(dirname "$0")/../.."
DEVICE=cuda OUTPUT=${OUT:-build/gpu} WHEELS=build/gpu-wheels SECONDS_LEFT=
while [ $# -gt 0 ]; do
  case "$1" in
    --device) DEVICE=$2 ;; --output) OUTPUT=$2 ;; --wheels) WHEELS=$2 ;;
    --seconds) SECONDS_LEFT=$2 ;;
    *) echo "unknown option $1; see the head of $0" >&2; exit 2 ;;
  esac
  shift 2
done
if [ -z "$SECONDS_LEFT" ]; then [ "$DEVICE" = cuda ] && SECONDS_LEFT=470 || SECONDS_LEFT=7200; fi
PYTHON=${PYTHON:-python3}
SITE=build/gpu-site
mkdir -p "$OUTPUT"
SECONDS=0

# Into a folder and not an environment: one made from an environment would not see its torch.
rm -rf "$SITE"
if compgen -G "$WHEELS/*.whl" >/dev/null; then
  "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --disable-pip-version-check \
    --target "$SITE" "$WHEELS"/*.whl || { echo "the wheels of $WHEELS do not fit $PYTHON" >&2; exit 1; }
fi
export PYTHONPATH="$PWD/$SITE:$PWD" PYTHONUNBUFFERED=1
"$PYTHON" benchmarks/gpu/measure.py --check --device "$DEVICE" || exit 1
echo "ready after $SECONDS s"

# Half of the time at most; versions of other libraries may warn of what is not ours.
SALTRUST_TEST_DEVICE=$DEVICE timeout $((SECONDS_LEFT / 2)) "$PYTHON" -m pytest -m cuda tests/cuda \
  -q -W default -p no:cacheprovider --durations=8 2>&1 | tee "$OUTPUT/tests.log"
TESTS=${PIPESTATUS[0]}
echo "tests ended with $TESTS after $SECONDS s"

REST=$((SECONDS_LEFT - SECONDS))
timeout $((REST + 5)) "$PYTHON" benchmarks/gpu/measure.py --device "$DEVICE" --seconds $((REST - 15)) \
  --output "$OUTPUT"
FIGURES=$?
echo "figures ended with $FIGURES after $SECONDS s; they lie in $OUTPUT"
[ "$TESTS" = 0 ] && [ "$FIGURES" = 0 ]
