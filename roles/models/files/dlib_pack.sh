# dlib_pack.sh CURRENT TARGET [PIP OPTION...]: two files of face_recognition_models, which is installed for that alone.
set -eu
umask 022
current=$1 target=$2
shift 2
work=$(mktemp -d /var/tmp/face-pack.XXXXXX)
trap 'rm -rf "$work"' EXIT
cp "$current/app/face_pipeline/engine/packs/dlib.txt" "$work/requirements.txt"
# It is never imported: its own code needs a module that setuptools no longer has.
"$current/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes --no-build-isolation \
  --no-compile --target "$work/package" "$@" -r "$work/requirements.txt"
"$current/venv/bin/python" -c 'import pathlib, sys
from face_pipeline.engine.pack import build_dlib_pack
build_dlib_pack(*map(pathlib.Path, sys.argv[1:]))' "$work/package" "$target"
