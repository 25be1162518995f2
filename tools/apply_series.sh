#!/usr/bin/env bash
# Nova's tree with our series on it, in build/nova-RELEASE:
#     tools/apply_series.sh [RELEASE]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec python3 -m xloud_series apply "${1:-2024.1}"
