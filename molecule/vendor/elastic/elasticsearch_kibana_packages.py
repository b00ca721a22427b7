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
ExecStart=/usr/share/elasticsearch/bin/elasticsearch -p ${PID_DIR}/elasticsearch.pid --quiet
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
ELASTICSEARCH_POSTINST = """\
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
getent group elasticsearch >/dev/null || addgroup --system --quiet elasticsearch
getent passwd elasticsearch >/dev/null ||
  adduser --system --quiet --home /nonexistent --no-create-home --ingroup elasticsearch \\
    --shell /bin/false elasticsearch
conf=/etc/elasticsearch
bin=/usr/share/elasticsearch/bin
mkdir -p /var/lib/elasticsearch /var/log/elasticsearch $conf/jvm.options.d
chown elasticsearch:elasticsearch /var/lib/elasticsearch /var/log/elasticsearch
chmod 2750 /var/lib/elasticsearch /var/log/elasticsearch
chown root:elasticsearch $conf $conf/jvm.options.d $conf/elasticsearch.yml
chmod 2750 $conf $conf/jvm.options.d
chmod 660 $conf/elasticsearch.yml
if [ -z "$2" ]; then
  echo '--------------------------- Security autoconfiguration information ------------------------------'
  if password=$($bin/elasticsearch --standin-configure-security); then
    chown root:elasticsearch $conf/certs $conf/certs/*
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
fi
[ -f $conf/elasticsearch.keystore ] || $bin/elasticsearch-keystore create
chown root:elasticsearch $conf/elasticsearch.keystore
chmod 660 $conf/elasticsearch.keystore
[ ! -d /run/systemd/system ] || systemctl daemon-reload
"""
ELASTICSEARCH_POSTRM = """\
#!/bin/sh
set -e
case $1 in
  remove | purge)
    rm -rf /var/log/elasticsearch
    [ ! -d /var/lib/elasticsearch ] || rmdir --ignore-fail-on-non-empty /var/lib/elasticsearch
    ;;
esac
if [ "$1" = purge ]; then
  rm -rf /etc/elasticsearch/jvm.options.d
  ! id elasticsearch >/dev/null 2>&1 || userdel elasticsearch
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
getent group kibana >/dev/null || addgroup --system --quiet kibana
getent passwd kibana >/dev/null ||
  adduser --system --quiet --no-create-home --ingroup kibana --shell /bin/false kibana
mkdir -p /var/lib/kibana /var/log/kibana
chown -R kibana:kibana /var/lib/kibana /var/log/kibana
chown -R root:kibana /etc/kibana
chmod 2750 /var/lib/kibana /etc/kibana
chmod 660 /etc/kibana/kibana.yml
[ ! -d /run/systemd/system ] || systemctl daemon-reload
"""
KIBANA_POSTRM = """\
#!/bin/sh
set -e
[ "$1" != purge ] || {
  rm -rf /var/log/kibana
  ! id kibana >/dev/null 2>&1 || userdel kibana
}
"""


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
        "DEBIAN/postinst": (ELASTICSEARCH_POSTINST, 0o755),
        "DEBIAN/prerm": (STOP.format(name="elasticsearch"), 0o755),
        "DEBIAN/postrm": (ELASTICSEARCH_POSTRM, 0o755),
        "DEBIAN/conffiles": ("/etc/elasticsearch/elasticsearch.yml\n/etc/default/elasticsearch\n", 0o644),
        "usr/share/elasticsearch/lib/es_contract.py": (own("es_contract.py", version), 0o644),
        "usr/lib/systemd/system/elasticsearch.service": (ELASTICSEARCH_UNIT, 0o644),
        "usr/lib/sysctl.d/elasticsearch.conf": ("vm.max_map_count=1048576\n", 0o644),
        "etc/elasticsearch/elasticsearch.yml": (
            "path.data: /var/lib/elasticsearch\npath.logs: /var/log/elasticsearch\n",
            0o660,
        ),
        "etc/default/elasticsearch": ("# STAND-IN\n", 0o660),
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
        "DEBIAN/conffiles": ("/etc/kibana/kibana.yml\n/etc/default/kibana\n", 0o644),
        "usr/lib/systemd/system/kibana.service": (KIBANA_UNIT, 0o644),
        "etc/kibana/kibana.yml": ("path.data: /var/lib/kibana\npid.file: /run/kibana/kibana.pid\n", 0o660),
        "etc/default/kibana": ("# STAND-IN\n", 0o644),
    }
    for name in ("kibana", "kibana-keystore", "kibana-encryption-keys"):
        files[f"usr/share/kibana/bin/{name}"] = (program, 0o755)
    return files
