# dlib_pack.sh CURRENT TARGET [PIP OPTION...]: two files of face_recognition_models, from its source archive.
set -eu
umask 022
current=$1 target=$2
shift 2
work=$(mktemp -d /var/tmp/face-pack.XXXXXX)
trap 'rm -rf "$work"' EXIT
cp "$current/app/face_pipeline/engine/packs/dlib.txt" "$work/requirements.txt"
# It is not installed: pip would make a wheel of 100 MB first, and hosts that share pip's cache would read each other's
# half-written one.
"$current/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --require-hashes --no-build-isolation \
  --dest "$work" "$@" -r "$work/requirements.txt"
mkdir "$work/package"
tar --extract --gzip --file "$work"/face_recognition_models-*.tar.gz --directory "$work/package"
"$current/venv/bin/python" -c 'import pathlib, sys
from face_pipeline.engine.pack import build_dlib_pack
build_dlib_pack(*map(pathlib.Path, sys.argv[1:]))' "$work/package" "$target"
