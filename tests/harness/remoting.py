"""A foreign client of RocketMQ: sends what nobody else would, and reads what is there."""

import json
import socket
import struct
import time

SEND_MESSAGE, PULL_MESSAGE, MAX_OFFSET = 310, 11, 30
SUBSCRIBES_BY_REQUEST = 4
GROUP = "tidegate-tests"


class Remoting:
    """One connection to a broker, which is asked one thing after the other."""

    def __init__(self, address):
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)), 10)
        self.opaque = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def call(self, code, fields, body=b""):
        """(code, fields, body) of the answer."""
        self.opaque += 1
        header = {"code": code, "language": "OTHER", "version": 513, "opaque": self.opaque, "flag": 0}
        header["extFields"] = {name: str(value) for name, value in fields.items()}
        text = json.dumps(header).encode()
        self.socket.sendall(struct.pack(">II", 4 + len(text) + len(body), len(text)) + text + body)
        length, head = struct.unpack(">II", self.read(8))
        answer = json.loads(self.read(head & 0xFFFFFF))
        return answer["code"], answer.get("extFields", {}), self.read(length - 4 - (head & 0xFFFFFF))

    def read(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            assert piece, "the broker ended the connection"
            data += piece
        return data

    def send(self, topic, queue, body, properties=""):
        fields = {"a": GROUP, "b": topic, "c": "TBW102", "d": 4, "e": queue, "f": 0}
        fields |= {"g": int(time.time() * 1000), "h": 0, "i": properties, "j": 0, "k": "false", "m": "false"}
        code, _, _ = self.call(
            SEND_MESSAGE, {name: value for name, value in fields.items() if value != ""}, body
        )
        return code

    def end_of(self, topic, queue):
        return int(self.call(MAX_OFFSET, {"topic": topic, "queueId": queue})[1]["offset"])

    def records(self, topic, queue):
        """[(body, properties)] of all that is in the queue."""
        found, offset, end = [], 0, self.end_of(topic, queue)
        while offset < end:
            fields = {"consumerGroup": GROUP, "topic": topic, "queueId": queue, "queueOffset": offset}
            fields |= {"maxMsgNums": 32, "sysFlag": SUBSCRIBES_BY_REQUEST, "commitOffset": 0}
            fields |= {
                "suspendTimeoutMillis": 0,
                "subscription": "*",
                "subVersion": 0,
                "expressionType": "TAG",
            }
            _, answer, body = self.call(PULL_MESSAGE, fields)
            found += list(messages(body))
            offset = int(answer["nextBeginOffset"])
        return found


def messages(data):
    """(body, properties) of each message of a pull's answer, stored by a host of IPv4."""
    while data:
        (size,) = struct.unpack_from(">I", data)
        (length,) = struct.unpack_from(">I", data, 84)
        body = data[88 : 88 + length]
        topic = data[88 + length]
        behind = 88 + length + 1 + topic
        (properties,) = struct.unpack_from(">H", data, behind)
        yield body, data[behind + 2 : behind + 2 + properties].decode()
        data = data[size:]
