# units.sh UNIT...: says which are not active, with the last lines of their journal, and how many workers are to run.
status=0

# A run of the playbook that broke off may leave a unit with the settings or the release of before.
outdated() {
  case $1 in face-web.service | celery@*) ;; *) return 1 ;; esac
  began=$(date -d "$(systemctl show --property ActiveEnterTimestamp --value "$1")" +%s) || return 1
  newest=$(stat -c %Y /etc/face-pipeline/face-pipeline.env /opt/face-pipeline/current | sort -n | tail -n 1)
  [ "$began" -lt "$newest" ]
}

for unit; do
  case $unit in
    *'*'*)
      wanted=$(sed -n 's/.*"workers": *\([0-9][0-9]*\).*/\1/p' /etc/face-pipeline/workers.json)
      names=$(seq -f 'celery@%g.service' 1 "$wanted")
      echo "$wanted"
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
    if [ "$state" = active ]; then
      outdated "$name" || continue
      status=1
      echo "$name began before its settings or release changed: systemctl restart $name" >&2
      continue
    fi
    status=1
    echo "$name is $state: $(journalctl --unit "$name" --lines 2 --output cat 2>/dev/null | tail -n1)" >&2
  done
done
exit $status
