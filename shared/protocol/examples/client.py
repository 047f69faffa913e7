"""A cutlayer client in Python, as far as the door: it joins a run, tells what it is welcomed to, and leaves. Written from ../README.md.

  python client.py http://127.0.0.1:7700 NAME [--token-file FILE] [--protocol VERSION]

An https server is trusted by the system's authorities, or by those in the file that the environment's SSL_CERT_FILE names.

Prints one JSON line: {"welcome": {...}}, {"refused": {"code", "what", "why", "fix"}} or {"lost": reason}. Exit status 0, 3 or 6.
Needs: pip install python-socketio msgpack aiohttp (status 77, and a line on stderr, without them).
"""

import argparse
import asyncio
import json
import secrets
import sys
import zlib

try:
    import aiohttp  # noqa: F401 (what python-socketio connects with)
    import msgpack
    import socketio
    from socketio.msgpack_packet import MsgPackPacket
except ImportError as error:
    print(f"{error.name} is not installed in this Python", file=sys.stderr)
    sys.exit(77)

PROTOCOL_VERSION = 8
EVENTS = ["chunk", "ack"]  # their packets are lists: the number of the event, and its argument
NOTHING_HELD = {"message": 1, "chunks": 0}
WELCOME, REFUSED = 0, 1  # numbers of messages from the server
STATUS = {"welcome": 0, "refused": 3, "lost": 6}


class Packet(MsgPackPacket):
    """Makes maps of packets that are lists."""

    def decode(self, encoded_packet):
        packet = msgpack.loads(encoded_packet)
        if isinstance(packet, list):
            packet = {"type": 2, "nsp": "/", "data": [EVENTS[packet[0]], packet[1]]}
        self.packet_type, self.namespace = packet["type"], packet["nsp"]
        self.data, self.id = packet.get("data"), packet.get("id")


class Client:
    def __init__(self, name, token, protocol):
        capabilities = {"codecs": ["fp32", "fp16"], "engine": "none", "software": "client.py"}
        hello = {"type": "hello", "protocol": protocol, "client": name, "token": token, "secret": None}
        hello |= {"resume": False, "part": None, "own_data": True, "capabilities": capabilities}
        self.opening = {"session": secrets.token_hex(16), "held": NOTHING_HELD, "hello": hello}
        self.arriving = b""  # what has come of the server's message under way
        self.outcome = ("lost", "the connection ended without a word")
        self.socket = socketio.AsyncClient(serializer=Packet, reconnection=False)
        self.socket.on("connect", self.connected)
        for frame in ("attached", "chunk", "refused", "closed"):
            self.socket.on(frame, getattr(self, frame))

    async def join(self, url):
        """Returns what became of it, as (word, value), once the server has closed the connection."""
        try:
            await self.socket.connect(url, transports=["websocket"])
        except socketio.exceptions.ConnectionError as error:
            return "lost", str(error)
        await self.socket.wait()
        return self.outcome

    async def connected(self):
        await self.socket.emit("hello", self.opening)

    async def attached(self, body):
        # A client that stays sends this every body["limits"]["heartbeatSeconds"].
        await self.socket.emit("heartbeat", {"type": "heartbeat"})

    async def chunk(self, fields):
        message, index, count, total_bytes, crc32, data = fields
        if zlib.crc32(data) != crc32:
            return await self.leave("lost", f"chunk {index} of message {message} arrived changed")
        self.arriving += data
        await self.socket.emit("ack", [message, index + 1])
        if index + 1 == count:
            packed, self.arriving = self.arriving, b""
            await self.receive(*msgpack.loads(packed))

    async def receive(self, number, *fields):
        if number == WELCOME:
            protocol, run, config, model, part, limits = fields
            name, digest, family, layers, hidden_size, tensors = model
            told = {"protocol": protocol, "run": run, "part": part, "rounds": config[5]["num_rounds"]}
            told |= {"model": name, "family": family, "layers": layers, "hidden_size": hidden_size}
            await self.leave("welcome", told)
        elif number == REFUSED:
            self.outcome = ("refused", dict(zip(("code", "what", "why", "fix"), fields[0])))

    async def leave(self, word, value):
        self.outcome = (word, value)
        await self.socket.emit("closed", {"reason": "it only wanted to be welcomed", "error": None})

    async def refused(self, body):
        self.outcome = ("refused", body["error"])

    async def closed(self, body):
        if self.outcome[0] == "lost":
            self.outcome = ("lost", body["reason"])
        await self.socket.disconnect()


parser = argparse.ArgumentParser(description="joins a run of cutlayer, and leaves it")
parser.add_argument("server", help="http://host:port, or https:")
parser.add_argument("name", help="the client's id")
parser.add_argument("--token-file", type=argparse.FileType(), help="its own token, or that of all clients")
parser.add_argument("--protocol", type=int, default=PROTOCOL_VERSION)
options = parser.parse_args()
token = options.token_file.read().strip() if options.token_file else None
word, value = asyncio.run(Client(options.name, token, options.protocol).join(options.server))
print(json.dumps({word: value}))
sys.exit(STATUS[word])
