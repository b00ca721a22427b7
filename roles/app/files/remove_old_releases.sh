# remove_old_releases.sh RELEASES CURRENT KEEP: the newest KEEP stay, and the one that is current.
set -eu
cd "$1"
running=$(readlink -f "$2")
find . -mindepth 1 -maxdepth 1 -type d -printf '%T@ %p\n' | sort -rn | tail -n "+$(($3 + 1))" | while read -r _ old; do
  [ "$(readlink -f "$old")" = "$running" ] || rm -rf -- "$old"
done
