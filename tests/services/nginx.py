"""nginx with a configuration of the test's own."""

import signal
from collections.abc import Sequence

from tests.services.process import Service


class Nginx(Service):
    """`configuration` is a whole nginx.conf; `{port}` and `{directory}` in it are filled in.

    Only `directory` is shared with this host: files to serve go there (`write`).
    """

    name = "nginx"
    # The master is root, as on a real host; its workers are www-data.
    system_user = "root"
    stop_signal = signal.SIGQUIT

    def __init__(self, configuration: str) -> None:
        super().__init__()
        self.directory.chmod(0o755)
        text = configuration.replace("{port}", str(self.port)).replace("{directory}", str(self.directory))
        self._configuration = self.write("nginx.conf", text)

    def command(self) -> Sequence[str]:
        own = f"daemon off; user www-data; pid {self.directory}/nginx.pid; error_log stderr;"
        return ["nginx", "-c", str(self._configuration), "-p", str(self.directory), "-e", "stderr", "-g", own]

    def ready(self) -> bool:
        return self.listens()
