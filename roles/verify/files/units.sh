# units.sh UNIT...: says which are not active, with the last lines of their journal.
status=0
for unit; do
  case $unit in
    *'*'*)
      wanted=$(sed -n 's/.*"workers": *\([0-9][0-9]*\).*/\1/p' /etc/face-pipeline/workers.json)
      names=$(seq -f 'celery@%g.service' 1 "$wanted")
      ;;
    *) names=$unit ;;
  esac
  for name in $names; do
    # One that starts is given the time a model takes to load.
    for _ in $(seq 60); do
      state=$(systemctl is-active "$name")
      [ "$state" = activating ] || break
      sleep 1
    done
    [ "$state" != active ] || continue
    status=1
    echo "$name is $state: $(journalctl --unit "$name" --lines 2 --output cat 2>/dev/null | tail -n1)" >&2
  done
done
exit $status
