#!/usr/bin/env bash
# Makes an arm64 Debian user space for the tests that run bundles there: bash scripts/arm64.sh FOLDER [MIRROR]
# Needs debootstrap, debian-archive-keyring and qemu-user-static; neither root nor binfmt: packages are unpacked, none is configured.
# A second run does nothing.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
target=$(realpath -m "$1")
[ ! -e "$target" ] || exit 0
PATH="$here/.venv/bin:$PATH:/usr/sbin"
root="$target.part"
rm -rf "$root"
mkdir -p "$root"
debootstrap --download-only --arch=arm64 --variant=minbase --include=python3 bookworm "$root" ${2:+"$2"}
mkdir -p "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib"
ln -s usr/bin usr/sbin usr/lib "$root"
for package in "$root"/var/cache/apt/archives/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar --extract --keep-directory-symlink --no-same-owner --no-same-permissions --directory "$root"
  rm "$package"
done
# The device's packages alone, without what they ask for: onnxruntime and tokenizers in the versions that are here.
version() { python -c "import importlib.metadata as m; print('$1==' + m.version('$1'))"; }
python -m pip install --quiet --no-deps --only-binary=:all: --implementation cp --python-version 3.11 \
  --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
  --target "$root/usr/local/lib/python3.11/dist-packages" numpy "$(version onnxruntime)" "$(version tokenizers)"
mv "$root" "$target"
echo "EDGELM_ARM64=$target"
