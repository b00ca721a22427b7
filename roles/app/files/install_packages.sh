# install_packages.sh RELEASE CURRENT PYTHON LOCK [PIP OPTION...]: the virtual environment of a release.
# Nothing is resolved: the hash-locked list the project was tested with is installed, and no other.
set -eu
umask 022
release=$1 current=$2 python=$3 lock=$4
shift 4
cd "$release"
rm -rf venv

same_packages() {
  [ -e "$current/.complete" ] && cmp -s "$current/venv/.lock" "requirements/$lock" &&
    [ "$("$current/venv/bin/python" --version)" = "$("$python" --version)" ]
}

if same_packages; then
  previous=$(readlink -f "$current")
  cp -al "$previous/venv" venv
  # Scripts name their environment; sed -i writes new files, so that the other release keeps its own.
  grep -rlIF "$previous/venv" venv/bin venv/pyvenv.cfg | xargs -r sed -i "s|$previous/venv|$release/venv|g"
else
  "$python" -m venv venv
  venv/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes "$@" -r "requirements/$lock"
  cp "requirements/$lock" venv/.lock
fi
venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-index --no-build-isolation --force-reinstall .
rm -rf build
