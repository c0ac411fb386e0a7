#!/usr/bin/env bash
# Tests with the oldest versions that pyproject.toml allows, in an environment of its own:
#
#     scripts/oldest_versions.sh [FOLDER [TESTS...]]
#
# Everything is the oldest but torch and the tools for testing, which are those of constraints.txt: the oldest torch is
# gigabytes of CUDA. Without TESTS, the core is tested: every room but training, evaluation and the pages in a browser.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-.venv-oldest}
shift || true
python=$folder/bin/python

python3 -m venv "$folder"
"$python" -m pip install -q --disable-pip-version-check -c constraints.txt \
    uv torch pytest pytest-timeout pytest-xdist hypothesis pillow-heif
echo 'torch; python_version < "3"' > "$folder/without.txt"
"$python" -m uv pip compile -q --python "$python" --resolution lowest-direct --no-annotate --extra all --extra jxl \
    --override "$folder/without.txt" pyproject.toml -o "$folder/oldest.txt"
"$python" -m pip install -q --disable-pip-version-check -r "$folder/oldest.txt"
"$python" -m pip install -q --disable-pip-version-check --no-deps -e .
cat "$folder/oldest.txt"
[ $# -gt 0 ] || set -- tests/system tests/images tests/network tests/restoration tests/batch tests/cli
exec "$python" -m pytest -q "$@"
