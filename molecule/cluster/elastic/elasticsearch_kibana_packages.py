"""The files of the STAND-IN packages elasticsearch and kibana.

Users, paths, units and modes are the vendor's, as far as its documentation and packaging tell, in words of
our own. Like its packages they start nothing.
"""

from __future__ import annotations

from pathlib import Path

from logstash_filebeat_packages import CONTROL, STOP, Files, own

ELASTICSEARCH_UNIT = """\
[Unit]
Description=Elasticsearch (STAND-IN)
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
RuntimeDirectory=elasticsearch
PrivateTmp=true
Environment=ES_HOME=/usr/share/elasticsearch
Environment=ES_PATH_CONF=/etc/elasticsearch
Environment=PID_DIR=/var/run/elasticsearch
Environment=ES_SD_NOTIFY=true
EnvironmentFile=-/etc/default/elasticsearch
WorkingDirectory=/usr/share/elasticsearch
User=elasticsearch
Group=elasticsearch
ExecStart=/usr/share/elasticsearch/bin/systemd-entrypoint -p ${PID_DIR}/elasticsearch.pid --quiet
LimitNOFILE=65535
LimitNPROC=4096
TimeoutStopSec=0
KillMode=process
SendSIGKILL=no
SuccessExitStatus=143
TimeoutStartSec=900

[Install]
WantedBy=multi-user.target
"""
ELASTICSEARCH_PREINST = """\
#!/bin/sh
set -e
case $1 in
  install | upgrade)
    getent group elasticsearch >/dev/null || addgroup --system --quiet elasticsearch
    id elasticsearch >/dev/null 2>&1 ||
      adduser --quiet --system --no-create-home --home /usr/share/elasticsearch --ingroup elasticsearch \\
        --disabled-password --shell /bin/false elasticsearch
    # What dpkg does by names in the package, on directories that were not there alone.
    for path in /etc/elasticsearch /etc/elasticsearch/jvm.options.d /var/lib/elasticsearch \\
      /var/log/elasticsearch; do
      [ -d $path ] || echo $path
    done >/run/standin-elasticsearch
    ;;
esac
"""
ELASTICSEARCH_POSTINST = """\
#!/bin/bash
set -e
[ "$1" = configure ] || exit 0
conf=/etc/elasticsearch
bin=/usr/share/elasticsearch/bin
for path in $(cat /run/standin-elasticsearch); do
  case $path in /etc/*) owner=root ;; *) owner=elasticsearch ;; esac
  mkdir -p $path
  chown $owner:elasticsearch $path
  chmod 2750 $path
done
rm -f /run/standin-elasticsearch
for name in jvm.options log4j2.properties role_mapping.yml roles.yml users users_roles; do
  chown root:elasticsearch $conf/$name
  chmod 660 $conf/$name
done
if [ -z "$2" ]; then
  echo '--------------------------- Security autoconfiguration information ------------------------------'
  if password=$($bin/elasticsearch --standin-configure-security); then
    chown root:elasticsearch $conf/certs/*
    echo 'Authentication and authorization are enabled.'
    echo 'TLS for the transport and HTTP layers is enabled and configured.'
    echo "The generated password for the elastic built-in superuser is : $password"
  elif [ $? = 80 ]; then
    echo 'Skipping auto-configuration because security features appear to be already configured.'
  else
    echo 'Failed to auto-configure security features.'
  fi
  echo '-------------------------------------------------------------------------------------------------'
  echo '### NOT starting on installation, please execute the following statements to configure'
  echo '### elasticsearch service to start automatically using systemd'
elif [ "$RESTART_ON_UPGRADE" = true ]; then
  systemctl daemon-reload
  systemctl restart elasticsearch.service || true
fi
if [ ! -f $conf/elasticsearch.keystore ]; then
  $bin/elasticsearch-keystore create
  chown root:elasticsearch $conf/elasticsearch.keystore
  chmod 660 $conf/elasticsearch.keystore
elif $bin/elasticsearch-keystore has-passwd --silent; then
  echo '### Warning: unable to upgrade encrypted keystore' >&2
else
  $bin/elasticsearch-keystore upgrade
fi
"""
ELASTICSEARCH_PRERM = """\
#!/bin/sh
set -e
[ "$1" = remove ] && [ -d /run/systemd/system ] || exit 0
systemctl --no-reload stop elasticsearch.service
systemctl disable elasticsearch.service >/dev/null 2>&1 || true
"""
ELASTICSEARCH_POSTRM = """\
#!/bin/sh
set -e
case $1 in
  remove | purge)
    rm -rf /var/log/elasticsearch /var/run/elasticsearch
    rm -rf /usr/share/elasticsearch/plugins /usr/share/elasticsearch/bin
    for path in /var/lib/elasticsearch /etc/elasticsearch/jvm.options.d; do
      [ ! -d $path ] || rmdir --ignore-fail-on-non-empty $path
    done
    [ "$1" != purge ] || rm -rf /etc/elasticsearch/jvm.options.d /etc/elasticsearch/auto_config_on*
    [ ! -d /etc/elasticsearch ] || rmdir --ignore-fail-on-non-empty /etc/elasticsearch
    ;;
esac
if [ "$1" = purge ]; then
  ! id elasticsearch >/dev/null 2>&1 || userdel elasticsearch
  ! getent group elasticsearch >/dev/null || groupdel elasticsearch
fi
"""
KIBANA_UNIT = """\
[Unit]
Description=Kibana (STAND-IN)
Wants=network-online.target
After=network-online.target

[Service]
Type=simple
User=kibana
Group=kibana
PrivateTmp=true
Environment=KBN_HOME=/usr/share/kibana
Environment=KBN_PATH_CONF=/etc/kibana
EnvironmentFile=-/etc/default/kibana
EnvironmentFile=-/etc/sysconfig/kibana
ExecStart=/usr/share/kibana/bin/kibana
Restart=on-failure
RestartSec=3
StartLimitBurst=3
StartLimitInterval=60
WorkingDirectory=/usr/share/kibana
StandardOutput=journal
StandardError=inherit

[Install]
WantedBy=multi-user.target
"""
KIBANA_POSTINST = """\
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
getent group kibana >/dev/null || addgroup --quiet --system kibana
getent passwd kibana >/dev/null ||
  adduser --quiet --system --no-create-home --disabled-password --ingroup kibana --shell /bin/false kibana
mkdir -p /var/lib/kibana /var/log/kibana
chmod -f 660 /etc/kibana/kibana.yml || true
chmod -f 2750 /var/lib/kibana /etc/kibana || true
chown -R kibana:kibana /var/lib/kibana
chown -R root:kibana /etc/kibana
[ -z "$2" ] || systemctl daemon-reload
"""
KIBANA_POSTRM = """\
#!/bin/sh
set -e
case $1 in
  remove | purge)
    rm -rf /var/log/kibana /usr/share/kibana/plugins /run/kibana
    for path in /etc/kibana /var/lib/kibana; do
      [ ! -d $path ] || rmdir --ignore-fail-on-non-empty $path
    done
    ;;
esac
if [ "$1" = purge ]; then
  ! id kibana >/dev/null 2>&1 || userdel kibana
  ! getent group kibana >/dev/null || groupdel kibana
fi
"""
# What each package puts into its directory of settings, which dpkg asks about where it was changed.
ELASTICSEARCH_SETTINGS = {
    "elasticsearch.yml": "path.data: /var/lib/elasticsearch\npath.logs: /var/log/elasticsearch\n",
    "jvm.options": "## -Xms4g\n## -Xmx4g\n-XX:+UseG1GC\n-Djava.io.tmpdir=${ES_TMPDIR}\n",
    "log4j2.properties": "# STAND-IN\n",
    "role_mapping.yml": "# STAND-IN\n",
    "roles.yml": "# STAND-IN\n",
    "users": "",
    "users_roles": "",
}
KIBANA_SETTINGS = {
    "kibana.yml": "path.data: /var/lib/kibana\npid.file: /run/kibana/kibana.pid\n",
    "node.options": "# STAND-IN\n",
}
# The unit starts the program through it.
ENTRYPOINT = """\
#!/bin/sh
exec /usr/share/elasticsearch/bin/elasticsearch "$@"
"""


def settings(name: str, files: dict[str, str]) -> Files:
    """With the environment's file; all of them are the operator's once they are there."""
    names = [f"/etc/{name}/{file}" for file in files] + [f"/etc/default/{name}"]
    return {
        "DEBIAN/conffiles": ("".join(f"{each}\n" for each in names), 0o644),
        f"etc/default/{name}": ("# STAND-IN\n", 0o660),
        **{f"etc/{name}/{file}": (content, 0o660) for file, content in files.items()},
    }


def elasticsearch(version: str, metamodel: Path | None) -> tuple[Files, dict[str, Path]]:
    """Texts by their path, and files that go in as they are."""
    program = own("elasticsearch", version)
    files: Files = {
        "DEBIAN/control": (
            CONTROL.format(
                name="elasticsearch",
                title="Elasticsearch",
                version=version,
                depends="adduser, python3, python3-yaml",
            ),
            0o644,
        ),
        "DEBIAN/preinst": (ELASTICSEARCH_PREINST, 0o755),
        "DEBIAN/postinst": (ELASTICSEARCH_POSTINST, 0o755),
        "DEBIAN/prerm": (ELASTICSEARCH_PRERM, 0o755),
        "DEBIAN/postrm": (ELASTICSEARCH_POSTRM, 0o755),
        **settings("elasticsearch", ELASTICSEARCH_SETTINGS),
        "usr/share/elasticsearch/bin/systemd-entrypoint": (ENTRYPOINT, 0o755),
        "usr/share/elasticsearch/lib/es_contract_privileges.py": (
            own("es_contract_privileges.py", version),
            0o644,
        ),
        "usr/share/elasticsearch/lib/es_contract.py": (own("es_contract.py", version), 0o644),
        "usr/lib/systemd/system/elasticsearch.service": (ELASTICSEARCH_UNIT, 0o644),
        "usr/lib/sysctl.d/elasticsearch.conf": ("vm.max_map_count=1048576\n", 0o644),
    }
    for name in ("elasticsearch", "elasticsearch-keystore", "elasticsearch-reset-password"):
        files[f"usr/share/elasticsearch/bin/{name}"] = (program, 0o755)
    return files, {"usr/share/elasticsearch/lib/es_metamodel.json.gz": metamodel} if metamodel else {}


def kibana(version: str) -> Files:
    program = own("kibana", version)
    files: Files = {
        "DEBIAN/control": (
            CONTROL.format(
                name="kibana", title="Kibana", version=version, depends="adduser, python3, python3-yaml"
            ),
            0o644,
        ),
        "DEBIAN/postinst": (KIBANA_POSTINST, 0o755),
        "DEBIAN/prerm": (STOP.format(name="kibana"), 0o755),
        "DEBIAN/postrm": (KIBANA_POSTRM, 0o755),
        **settings("kibana", KIBANA_SETTINGS),
        "usr/lib/systemd/system/kibana.service": (KIBANA_UNIT, 0o644),
        "usr/lib/tmpfiles.d/kibana.conf": ("d /run/kibana 0755 kibana kibana - -\n", 0o644),
    }
    for name in ("kibana", "kibana-keystore", "kibana-encryption-keys"):
        files[f"usr/share/kibana/bin/{name}"] = (program, 0o755)
    return files
