#!/usr/bin/env bash
# Whether cargo fmt and cargo clippy are there: 0 if so. A toolchain of rustup's without them fails (1), since
# one command adds them; one of a distribution may not have them at all (3), which is said where CI shows it.
set -euo pipefail
cargo="${1:-cargo}"
missing=""
for lint in fmt clippy; do
  "$cargo" "$lint" --version >/dev/null 2>&1 || missing="${missing:+$missing and }cargo $lint"
done
[ -z "$missing" ] && exit 0
if command -v rustup >/dev/null 2>&1; then
  echo "lint: $missing not installed; install with: rustup component add rustfmt clippy" >&2
  exit 1
fi
text="$missing not installed and there is no rustup to add it; a distribution may have rustfmt and rust-clippy: \
Rust lints were NOT RUN"
if [ -n "${CI:-}" ]; then
  echo "::error::lint: $text" >&2
  exit 1
fi
echo "lint: WARNING: $text" >&2
exit 3
