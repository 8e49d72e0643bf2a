"""Reads Ledgerline's read models out of Redis, without Ledgerline."""
import hashlib
import json
import os
import sys
import time

import redis

store = redis.Redis.from_url(os.environ.get("LEDGERLINE_REDIS_URL", "redis://127.0.0.1:6379"), decode_responses=True)


def murmur2(key):
    """The hash by which Kafka's Java clients place a key, as 32 bits without sign."""
    m, h = 0x5BD1E995, 0x9747B28C ^ len(key)
    whole = len(key) - len(key) % 4
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i:i + 4], "little") * m & 0xFFFFFFFF
        k = (k ^ k >> 24) * m & 0xFFFFFFFF
        h = h * m & 0xFFFFFFFF ^ k
    if whole < len(key):
        h = (h ^ int.from_bytes(key[whole:], "little")) * m & 0xFFFFFFFF
    h = (h ^ h >> 13) * m & 0xFFFFFFFF
    return h ^ h >> 15


def as_events(document, buckets):
    """The bucket in a model keyed as its events are: the partition of the aggregate's id."""
    return (murmur2(document.encode()) & 0x7FFFFFFF) % buckets


def otherwise(document, buckets):
    """The bucket in any other model."""
    return int(hashlib.sha1(document.encode()).hexdigest()[:4], 16) % buckets


# The fields of a document that the index lists from ARGV[2] to ARGV[3], with their values.
FIELDS = """
local answer = {}
for _, member in ipairs(redis.call('ZRANGEBYLEX', KEYS[1], ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[4])) do
  local field = string.sub(member, #ARGV[1] + 4)
  table.insert(answer, field)
  table.insert(answer, redis.call('HGET', KEYS[2], ARGV[1] .. '/' .. field))
end
return answer
"""

# The highest places of a ranked list: id, sum, id, sum. It is a script because clients ask in RESP3, in
# which the embedded Redis of the quickstart does not answer WITHSCORES in pairs.
PLACES = "return redis.call('ZREVRANGE', KEYS[1], 0, ARGV[1] - 1, 'WITHSCORES')"


class Model:
    def __init__(self, name, bucket_of):
        self.name, self.bucket_of = name, bucket_of

    def active(self):
        """The generation that readers use now, and its number of buckets."""
        generation = store.get(f"ledgerline:{{{self.name}}}:active")
        if generation is None:
            raise LookupError(f"{self.name} has no active generation yet")
        about = json.loads(store.hget(f"ledgerline:{{{self.name}}}:generations", generation))
        return generation, about["buckets"]

    def ask(self, question):
        """The answer of the active generation. One that was replaced meanwhile may be deleted: ask again."""
        while True:
            generation, buckets = self.active()
            answer = question(generation, buckets)
            if answer or self.active()[0] == generation:
                return answer

    def read(self, generation, bucket, queue):
        """What queue asks a bucket for, and the bucket's checkpoints of the same moment."""
        tag = f"ledgerline:{{{self.name}.{generation}.{bucket}}}"
        with store.pipeline(transaction=True) as p:
            p.hgetall(f"{tag}:checkpoints")
            queue(p, lambda part: f"{tag}:{part}")
            checkpoints, *answers = p.execute()
        if any(c.startswith("broken:") for c in checkpoints.values()):
            raise RuntimeError(f"generation {generation} of {self.name} is broken: a new one is being built")
        return answers, checkpoints

    def of(self, document, queue):
        return self.ask(lambda generation, buckets: self.read(generation, self.bucket_of(document, buckets), queue)[0][0])

    def document(self, document):
        text = self.of(document, lambda p, key: p.hget(key("docs"), document))
        return text and json.loads(text)

    def fields(self, document, part, first, last, limit):
        flat = self.of(document, lambda p, key: p.eval(FIELDS, 2, key("index"), key(part), document, first, last, limit))
        return dict(zip(flat[::2], flat[1::2]))

    def sums(self, document):
        found = self.fields(document, "sums", f"[{document}/s/", f"({document}/s0", -1)
        return {name: int(value) for name, value in found.items()}

    def entries(self, document, limit, after=None):
        first = f"[{document}/e/" if after is None else f"({document}/e/{after}"
        found = self.fields(document, "entries", first, f"({document}/e0", limit)
        return {name: json.loads(value) for name, value in found.items()}

    def ranked(self, name, limit):
        """The first places of a ranked list. Each bucket has its own: the first of each, merged."""
        def merged(generation, buckets):
            places = []
            for bucket in range(buckets):
                (flat,), _ = self.read(generation, bucket, lambda p, key: p.eval(PLACES, 1, key(f"rank:{name}"), limit))
                places += zip(flat[::2], map(int, flat[1::2]))
            return sorted(places, key=lambda place: (place[1], place[0]), reverse=True)[:limit]

        return self.ask(merged)

    def wait(self, document, position, seconds=10):
        """Waits until the document shows the command at a position, like order/3@1207."""
        source, offset = position.split("@")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            generation, buckets = self.active()
            _, checkpoints = self.read(generation, self.bucket_of(document, buckets), lambda p, key: None)
            # Of each source: generation, code version, topic id, next offset, last whole command, change.
            if source in checkpoints and int(checkpoints[source].split(" ")[4]) >= int(offset):
                return
            time.sleep(0.01)
        raise TimeoutError(f"{self.name} is still behind {position}: wait on, or read what there is")


order_status = Model("order-status", as_events)
customer_orders = Model("customer-orders", otherwise)

if __name__ == "__main__":
    order, customer, position = sys.argv[1:]
    order_status.wait(order, position)
    print(order_status.document(order))
    customer_orders.wait(customer, position)
    print(customer_orders.sums(customer))
    print(customer_orders.entries(customer, limit=10))
    print(customer_orders.ranked("total_spent:GBP", limit=3))
