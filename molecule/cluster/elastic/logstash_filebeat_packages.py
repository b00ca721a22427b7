"""Build the STAND-IN packages logstash and filebeat: logstash_filebeat_packages.py DIRECTORY VERSION.

Prints the path of each. Users, paths, units and modes are the vendor's, as far as its documentation
and unit files tell, in words of our own. Like its packages they start nothing. Needs dpkg-deb.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
Files = dict[str, tuple[str, int]]

CONTROL = """\
Package: {name}
Version: {version}
Architecture: all
Maintainer: Face Pipeline tests <nobody@example.org>
Depends: {depends}
Section: misc
Priority: optional
Description: STAND-IN for {title}, for tests alone
 It takes {title}'s settings and commands, strictly, and does what the tests need of it.
 It says nothing about what the real {title} does.
"""

LOGSTASH_UNIT = """\
[Unit]
Description=logstash (STAND-IN)

[Service]
Type=simple
User=logstash
Group=logstash
EnvironmentFile=-/etc/default/logstash
EnvironmentFile=-/etc/sysconfig/logstash
ExecStart=/usr/share/logstash/bin/logstash "--path.settings" "/etc/logstash"
Restart=always
WorkingDirectory=/
Nice=19
LimitNOFILE=16384
TimeoutStopSec=infinity

[Install]
WantedBy=multi-user.target
"""
LOGSTASH_POSTINST = """\
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
getent group logstash >/dev/null || addgroup --system --quiet logstash
getent passwd logstash >/dev/null ||
  adduser --system --quiet --home /usr/share/logstash --no-create-home --ingroup logstash \\
    --shell /usr/sbin/nologin logstash
mkdir -p /etc/logstash/conf.d /var/lib/logstash /var/log/logstash
chown logstash:logstash /var/lib/logstash
chown -R logstash /var/log/logstash
[ ! -d /run/systemd/system ] || systemctl daemon-reload
"""
# What LS_JAVA_OPTS is added to.
LOGSTASH_JVM_OPTIONS = "## STAND-IN\n-Xms1g\n-Xmx1g\n-Djava.awt.headless=true\n"
# Where it is, Logstash's programs write a log file.
LOGSTASH_LOG4J = "status = error\nname = StandInConfig\n"
LOGSTASH_DEFAULT = """\
LS_HOME="/usr/share/logstash"
LS_SETTINGS_DIR="/etc/logstash"
LS_USER="logstash"
LS_GROUP="logstash"
LS_GC_LOG_FILE="/var/log/logstash/gc.log"
"""
LOGSTASH_MODULES = ("events", "filters", "java", "keystore", "pipeline", "queue")
FILEBEAT_UNIT = """\
[Unit]
Description=Filebeat sends log files to Logstash (STAND-IN)
Wants=network-online.target
After=network-online.target

[Service]
UMask=0027
Environment="BEAT_LOG_OPTS="
Environment="BEAT_CONFIG_OPTS=-c /etc/filebeat/filebeat.yml"
Environment="BEAT_PATH_OPTS=--path.home /usr/share/filebeat --path.config /etc/filebeat \
--path.data /var/lib/filebeat --path.logs /var/log/filebeat"
ExecStart=/usr/share/filebeat/bin/filebeat --environment systemd $BEAT_LOG_OPTS $BEAT_CONFIG_OPTS \
$BEAT_PATH_OPTS
Restart=always

[Install]
WantedBy=multi-user.target
"""
FILEBEAT_WRAPPER = """\
#!/bin/sh
exec /usr/share/filebeat/bin/filebeat --path.home /usr/share/filebeat --path.config /etc/filebeat \\
  --path.data /var/lib/filebeat --path.logs /var/log/filebeat "$@"
"""
RELOAD_UNITS = """\
#!/bin/sh
set -e
[ ! -d /run/systemd/system ] || systemctl daemon-reload
"""
STOP = """\
#!/bin/sh
set -e
[ "$1" != remove ] || [ ! -d /run/systemd/system ] || systemctl stop {name} || true
"""


def own(name: str, version: str) -> str:
    return (HERE / name).read_text(encoding="utf-8").replace("@VERSION@", version)


def logstash(version: str) -> Files:
    program = own("logstash", version)
    return {
        "DEBIAN/control": (
            CONTROL.format(
                name="logstash",
                title="Logstash",
                version=f"1:{version}-1",
                depends="adduser, python3, python3-yaml, python3-lark",
            ),
            0o644,
        ),
        "DEBIAN/postinst": (LOGSTASH_POSTINST, 0o755),
        "DEBIAN/prerm": (STOP.format(name="logstash"), 0o755),
        "DEBIAN/conffiles": (
            "".join(
                f"/etc/{name}\n"
                for name in (
                    "logstash/logstash.yml",
                    "logstash/pipelines.yml",
                    "logstash/jvm.options",
                    "logstash/log4j2.properties",
                    "default/logstash",
                )
            ),
            0o644,
        ),
        "usr/share/logstash/bin/logstash": (program, 0o755),
        "usr/share/logstash/bin/logstash-keystore": (program, 0o755),
        **{
            f"usr/share/logstash/lib/logstash_{name}.py": (own(f"logstash_{name}.py", version), 0o644)
            for name in LOGSTASH_MODULES
        },
        "usr/share/logstash/lib/lumberjack.py": (own("lumberjack.py", version), 0o644),
        "usr/lib/systemd/system/logstash.service": (LOGSTASH_UNIT, 0o644),
        "etc/logstash/logstash.yml": (
            "path.data: /var/lib/logstash\npath.logs: /var/log/logstash\n",
            0o644,
        ),
        "etc/logstash/pipelines.yml": (
            '- pipeline.id: main\n  path.config: "/etc/logstash/conf.d/*.conf"\n',
            0o644,
        ),
        "etc/logstash/jvm.options": (LOGSTASH_JVM_OPTIONS, 0o644),
        "etc/logstash/log4j2.properties": (LOGSTASH_LOG4J, 0o644),
        "etc/default/logstash": (LOGSTASH_DEFAULT, 0o600),
    }


def filebeat(version: str) -> Files:
    return {
        "DEBIAN/control": (
            CONTROL.format(
                name="filebeat", title="Filebeat", version=version, depends="python3, python3-yaml"
            ),
            0o644,
        ),
        "DEBIAN/postinst": (RELOAD_UNITS, 0o755),
        "DEBIAN/prerm": (STOP.format(name="filebeat"), 0o755),
        "DEBIAN/conffiles": ("/etc/filebeat/filebeat.yml\n", 0o644),
        "usr/share/filebeat/bin/filebeat": (own("filebeat", version), 0o755),
        "usr/share/filebeat/lib/lumberjack.py": (own("lumberjack.py", version), 0o644),
        "usr/bin/filebeat": (FILEBEAT_WRAPPER, 0o755),
        "usr/lib/systemd/system/filebeat.service": (FILEBEAT_UNIT, 0o644),
        "etc/filebeat/filebeat.yml": ("filebeat.inputs: []\noutput.logstash.hosts: []\n", 0o600),
    }


def build(directory: Path, name: str, files: Files) -> Path:
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        tree.mkdir(mode=0o755)
        for path, (content, mode) in files.items():
            file = tree / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
            file.chmod(mode)
        target = directory / f"{name}.deb"
        command = ["dpkg-deb", "--build", "--root-owner-group", str(tree), str(target)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    return target


def main(directory: Path, version: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, files in (("logstash", logstash(version)), ("filebeat", filebeat(version))):
        print(build(directory, f"{name}_{version}_all", files))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
