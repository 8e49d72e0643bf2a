"""Sends Avro commands about orders and waits for their outcomes, with default client settings."""
import io
import json
import os
import struct
import time
import urllib.request
import uuid

import fastavro
from confluent_kafka import Consumer, Producer, TopicPartition

BROKERS = os.environ.get("LEDGERLINE_BROKERS", "127.0.0.1:9092")
REGISTRY = os.environ.get("LEDGERLINE_REGISTRY_URL", "http://127.0.0.1:8081")
SPACE = uuid.UUID("8f8b4c6e-6a0e-5d0c-9c52-0d1b6a3f7e11")  # of command ids; it never changes


def command_id(key):
    """The id of a command whose ce_id is key: a UUID itself, or a version 5 UUID of it."""
    try:
        return str(uuid.UUID(key)) if len(key) == 36 else str(uuid.uuid5(SPACE, key))
    except ValueError:
        return str(uuid.uuid5(SPACE, key))


def ask_registry(path):
    with urllib.request.urlopen(REGISTRY + path) as answer:
        return json.load(answer)


writers, readers = {}, {}


def encode(topic, full_name, value):
    """Confluent framing: a zero byte, the schema's id in four bytes, Avro binary."""
    subject = f"{topic}-{full_name}"
    if subject not in writers:
        found = ask_registry(f"/subjects/{subject}/versions/latest")
        writers[subject] = found["id"], fastavro.parse_schema(json.loads(found["schema"]))
    schema_id, schema = writers[subject]
    out = io.BytesIO(struct.pack(">bI", 0, schema_id))
    out.seek(0, io.SEEK_END)
    fastavro.schemaless_writer(out, schema, value, strict_allow_default=True)
    return out.getvalue()


def decode(record):
    zero, schema_id = struct.unpack(">bI", record[:5])
    if zero != 0:
        raise ValueError("no framed Avro")
    if schema_id not in readers:
        readers[schema_id] = fastavro.parse_schema(json.loads(ask_registry(f"/schemas/ids/{schema_id}")["schema"]))
    return fastavro.schemaless_reader(io.BytesIO(record[5:]), readers[schema_id])


class Orders:
    def __init__(self):
        self.producer = Producer({"bootstrap.servers": BROKERS})
        # It belongs to no group, but the client wants a name. Its offsets are taken before anything
        # is sent: "the end" as the client would find it later may lie behind an outcome.
        self.outcomes = Consumer({"bootstrap.servers": BROKERS, "group.id": "unused", "enable.auto.commit": False})
        topic = self.outcomes.list_topics("order.outcomes").topics["order.outcomes"]
        partitions = [TopicPartition("order.outcomes", p) for p in topic.partitions]
        for p in partitions:
            _, p.offset = self.outcomes.get_watermark_offsets(p)
        self.outcomes.assign(partitions)

    def send(self, order_id, command, fields, key=None, expected=None):
        """Appends a command and returns its id; key None lets its position be the id."""
        headers = {"content-type": "application/avro", "ce_type": f"ledgerline.order.{command}"}
        if key is not None:
            headers["ce_id"] = key
        if expected is not None:
            headers["ce_expectedversion"] = str(expected)
        sent = []
        self.producer.produce(
            "order.commands", key=order_id, value=encode("order.commands", headers["ce_type"], fields),
            headers=headers, on_delivery=lambda *report: sent.append(report))
        self.producer.flush()
        error, record = sent[0]
        if error:
            raise RuntimeError(f"sending {command}: {error}")
        return command_id(key or f"{record.topic()}/{record.partition()}@{record.offset()}")

    def outcome(self, wanted, seconds=10):
        """Waits for the outcome of a command that this object has sent, after all earlier ones."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            record = self.outcomes.poll(0.1)
            if record is None:
                continue
            if record.error():
                raise RuntimeError(record.error())
            if dict(record.headers())["ce_commandid"].decode() == wanted:
                answer = decode(record.value())
                if answer["events"]:  # else there is nothing to wait for in a read model
                    answer["position"] = f"{answer['aggregate']}/{record.partition()}@{answer['command_offset']}"
                return answer
        raise TimeoutError(f"no outcome of command {wanted} in {seconds} s: it may yet be decided")


if __name__ == "__main__":
    orders = Orders()
    amount = {"minor_units": 1250, "currency": "GBP"}
    place = {"customer_id": "c-python", "total_amount": amount}
    for command, fields, options in [
        ("PlaceOrder", place, {"key": "python-1/place"}),
        ("PlaceOrder", place, {"key": "python-1/place"}),  # a repeat: the same answer, and nothing happens
        ("PlaceOrder", place, {}),  # another command
        ("ReceivePayment", {"amount": amount}, {"key": "python-1/pay", "expected": 1}),
    ]:
        answer = orders.outcome(orders.send("python-1", command, fields, **options))
        events = [event["type"] for event in answer["events"]]
        print(command, answer["status"], answer["version"], *events, answer["code"] or answer["position"])
