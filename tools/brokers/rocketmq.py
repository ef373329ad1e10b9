"""Apache RocketMQ from Maven's jars: a name server `names` and masters `broker-a`, `broker-b`, …

The jars go to a cache that all instances share. What is set here and why:
- RocketMQ 5 would open a replication port on every address, and has no setting against it: a service of our
  own, found by RocketMQ's own look-up, leaves it shut. 4.9 listens on every address for everything.
- A name server of 5 would look for others through the machine's outer address every 3 s.
- A broker registers once when it starts, maybe before its connection to the name server is up, and then
  only 10 s later; setting its permission (to what it is) makes it register at once.
- Its files would be of gigabytes, and a disk that is three quarters full would make it delete what it has.
"""

import fcntl
import os
import pathlib
import shutil
import subprocess
import tempfile

from brokers import remoting
from brokers.instance import ANNOUNCED, BrokerError, Instance, make_certificate

HERE = pathlib.Path(__file__).resolve().parent

NO_REPLICATION = """
/** The replication service of a master without a slave: opens no port. */
public class NoReplication extends org.apache.rocketmq.store.ha.DefaultHAService {
    @Override public void start() { }
    @Override public void shutdown() { }
}
"""

LOGGING = """<configuration>
  <appender name="file" class="ch.qos.logback.core.FileAppender">
    <file>{folder}/log</file>
    <encoder><pattern>%d{{HH:mm:ss.SSS}} %-5p %t %c{{1}} - %m%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="file"/></root>
</configuration>
"""

AUTH = """authenticationEnabled=true
authenticationProvider=org.apache.rocketmq.auth.authentication.provider.DefaultAuthenticationProvider
authenticationMetadataProvider=org.apache.rocketmq.auth.authentication.provider.LocalAuthenticationMetadataProvider
authenticationStrategy=org.apache.rocketmq.auth.authentication.strategy.StatelessAuthenticationStrategy
initAuthenticationUser={{"username":"{user}","password":"{secret}"}}
innerClientAuthenticationCredentials={{"accessKey":"{user}","secretKey":"{secret}"}}
"""

OPENS = [
    f"--add-opens=java.base/{name}=ALL-UNNAMED"
    for name in ("java.nio", "sun.nio.ch", "java.lang", "java.util")
]
EXPORTS = [f"--add-exports=java.base/{name}=ALL-UNNAMED" for name in ("jdk.internal.ref", "sun.nio.ch")]


class RocketMQ(Instance):
    name = "rocketmq"
    defaults = {
        "apart": False,
        "auth": "",  # user:secret
        "tls": False,  # TLS and plain on one port
        "version": "5.5.0",
        "masters": 1,
        "heap": "",
        "set": [],
    }
    # Two below: the "VIP" port, the same protocol; one above: replication.
    port_offsets = (-2, 0, 1)

    def version(self):
        return f"RocketMQ {self.options['version']}"

    def waves(self):
        return [["names"], [f"broker-{chr(ord('a') + i)}" for i in range(self.options["masters"])]]

    # ---- the jars ----

    @property
    def cache(self):
        folder = os.environ.get("BROKER_CACHE") or pathlib.Path(
            os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache", "tidegate-brokers"
        )
        return pathlib.Path(folder) / f"rocketmq-{self.options['version']}"

    def install(self):
        if self.options["apart"] and self._is_old():
            raise BrokerError("RocketMQ 4 listens on every address: it can't be told to listen apart")
        if self.options["auth"] and self._is_old():
            raise BrokerError("RocketMQ 4.9.7 ends with a ClassCastException when its ACL is on")
        self.cache.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{self.cache}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.cache.exists():
                self._fetch()

    def _fetch(self):
        """Into a folder beside it first: what has the name is whole."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="new-", dir=self.cache.parent))
        try:
            self._run_maven(folder)
            if not self._is_old():
                self._build_stub(folder)
            folder.chmod(0o755)
            folder.rename(self.cache)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _run_maven(self, folder):
        words = [
            *(
                "mvn",
                "-B",
                "-q",
                "-f",
                HERE / "rocketmq.xml",
                f"-Drocketmq.version={self.options['version']}",
            ),
            "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies",
            *("-DincludeScope=runtime", f"-DoutputDirectory={folder}/jars"),
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode or not list((folder / "jars").glob("rocketmq-broker-*.jar")):
            raise BrokerError(
                f"Maven did not fetch RocketMQ {self.options['version']}:\n{done.stdout[-3000:]}"
            )

    def _build_stub(self, folder):
        stub = folder / "stub"
        services = stub / "META-INF" / "service"
        services.mkdir(parents=True)
        (stub / "NoReplication.java").write_text(NO_REPLICATION)
        words = [
            "javac",
            "-nowarn",
            "-proc:none",
            "-cp",
            f"{folder}/jars/*",
            "-d",
            stub,
            stub / "NoReplication.java",
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BrokerError(f"javac did not build a part of the broker:\n{done.stderr[-3000:]}")
        (services / "org.apache.rocketmq.store.ha.HAService").write_text("NoReplication\n")

    def _is_old(self):
        return self.options["version"].startswith("4.")

    # ---- the processes ----

    def _java(self, folder, heap):
        size = [f"-Xms{heap}", f"-Xmx{heap}"]
        if not self.options["heap"]:
            # The quick compiler alone starts soonest; who measures asks for a heap.
            size.append("-XX:TieredStopAtLevel=1")
        return [
            *(
                "java",
                *size,
                "-XX:MaxDirectMemorySize=256m",
                "-Xss512k",
                "-XX:+UseSerialGC",
                "-XX:-UsePerfData",
            ),
            *OPENS,
            *EXPORTS,
            "-Dio.netty.tryReflectionSetAccessible=true",
            *self._tls(),
            "-Djava.net.preferIPv4Stack=true",
            f"-Duser.home={folder}",
            f"-Drmq.logback.configurationFile={folder}/logback.xml",
            *("-cp", f"{self.cache}/stub:{self.cache}/jars/*"),
        ]

    def _tls(self):
        if not self.options["tls"]:
            return ["-Dtls.server.mode=disabled"]
        folder = self.folder / "tls"
        make_certificate(folder)
        return [
            "-Dtls.server.mode=permissive",
            "-Dtls.test.mode.enable=false",  # or it would sign a certificate of its own
            f"-Dtls.server.certPath={folder}/cert.pem",
            f"-Dtls.server.keyPath={folder}/key.pem",
        ]

    def addresses(self):
        found = super().addresses()
        if self.options["tls"]:
            found["CA"] = str(self.folder / "tls" / "cert.pem")
        return found

    def environment(self, node):
        return {"ROCKETMQ_HOME": str(self.folder / node)}

    def command(self, node):
        folder = self.node_folder(node)
        self._write_logging(folder)
        file = folder / "conf" / "node.properties"
        if node == "names":
            file.write_text(self._names_properties(folder))
            main, heap = "org.apache.rocketmq.namesrv.NamesrvStartup", "64m"
        else:
            file.write_text(self._broker_properties(node, folder))
            main, heap = "org.apache.rocketmq.broker.BrokerStartup", self.options["heap"] or "128m"
        return [*self._java(folder, heap), main, "-c", str(file)]

    def _write_logging(self, folder):
        (folder / "conf").mkdir(parents=True, exist_ok=True)
        # But for the first, these are where 4.9 looks.
        for name in (
            "logback.xml",
            "conf/logback_broker.xml",
            "conf/logback_namesrv.xml",
            "conf/logback_tools.xml",
        ):
            (folder / name).write_text(LOGGING.format(folder=folder))

    def _names_properties(self, folder):
        return f"""listenPort={self.port("names")}
bindAddress={self.host}
scanAvailableNameSrv=false
kvConfigPath={folder}/kv.json
configStorePath={folder}/namesrv.properties
"""

    def _broker_properties(self, node, folder):
        port = self.port(node)
        text = f"""brokerClusterName=tests
brokerName={node}
brokerId=0
brokerRole=ASYNC_MASTER
flushDiskType=ASYNC_FLUSH
brokerIP1={ANNOUNCED}
brokerIP2={self.host}
bindAddress={self.host}
listenPort={port}
haListenPort={port + 1}
namesrvAddr={self.host}:{self.port("names")}
storePathRootDir={folder}/store
storePathCommitLog={folder}/store/commitlog
mappedFileSizeCommitLog=67108864
mappedFileSizeConsumeQueue=600000
maxHashSlotNum=50000
maxIndexNum=200000
diskMaxUsedSpaceRatio=95
fileReservedTime=1
traceOn=false
"""
        if self.options["auth"]:
            user, _, secret = self.options["auth"].partition(":")
            text += AUTH.format(user=user, secret=secret)
        return text + "".join(f"{item}\n" for item in self.options["set"])

    def is_ready(self, node):
        if "boot success" not in (self.folder / node / "out").read_text(errors="replace"):
            return False
        known = remoting.call((self.host, self.port("names")), remoting.CLUSTER_INFO)
        if node == "names":
            return bool(known)
        if f'"{node}":{{'.encode() in known:
            return True
        address = (self.host, self.port(node))
        remoting.call(address, remoting.UPDATE_CONFIG, b"brokerPermission=6", self.options["auth"])
        return False

    def client(self, arguments):
        folder = self.node_folder("client")
        self._write_logging(folder)
        address = f"-Drocketmq.namesrv.addr={self.host}:{self.port('names')}"
        java = self._java(folder, "64m")
        return [
            *("env", f"ROCKETMQ_HOME={folder}", java[0], address, *java[1:]),
            *("org.apache.rocketmq.tools.command.MQAdminStartup", *arguments),
        ]
