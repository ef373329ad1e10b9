"""ZooKeeper from Debian, one `server`. Each write is on the disk before it is acknowledged (forceSync).

Sessions may last from 1 to 10 s, so that a test sees one expire. Digest authentication needs nothing here:
a client that shows a digest owns what it creates with it.
"""

import subprocess

from brokers.instance import Instance, ask

# Debian's package has no list of what its jar needs.
JARS = ["zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-simple", "metrics-core", "snappy-java"]
JARS += ["netty-all", "commons-cli", "commons-io"]
CLASS_PATH = ":".join(f"/usr/share/java/{name}.jar" for name in JARS)


class ZooKeeper(Instance):
    name = "zookeeper"
    defaults = {"apart": False, "heap": "", "set": []}

    def version(self):
        command = ["dpkg-query", "-W", "-f", "${Version}", "zookeeper"]
        return "ZooKeeper " + subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def waves(self):
        return [["server"]]

    def command(self, node):
        folder = self.node_folder(node)
        lines = [
            "tickTime=500",
            f"dataDir={folder}/data",
            f"clientPortAddress={self.host}",
            f"clientPort={self.port(node)}",
            "maxClientCnxns=0",
            "admin.enableServer=false",
            "forceSync=yes",
            *self.options["set"],
        ]
        (folder / "zoo.cfg").write_text("\n".join(lines) + "\n")
        return [*self._java(), "org.apache.zookeeper.server.ZooKeeperServerMain", str(folder / "zoo.cfg")]

    def _java(self):
        # Little memory and the quick compiler alone start soonest; who measures asks for a heap.
        heap = self.options["heap"]
        size = [f"-Xms{heap}", f"-Xmx{heap}"] if heap else ["-Xmx128m", "-XX:TieredStopAtLevel=1"]
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return ["java", *size, "-XX:+UseSerialGC", "-XX:-UsePerfData", quiet, "-cp", CLASS_PATH]

    def is_ready(self, node):
        answer = ask((self.host, self.port(node)), b"srvr", lambda got: False)
        return b"Mode: " in answer

    def client(self, arguments):
        address = f"{self.host}:{self.port('server')}"
        return [*self._java(), "org.apache.zookeeper.ZooKeeperMain", "-server", address, *arguments]
