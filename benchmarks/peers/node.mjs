// node-redis or ioredis: `node node.mjs CLIENT PORT CHANNEL PATTERN COUNTER CACHE`, from the folder they are installed in.
import { openSync, writeSync } from "node:fs";
import { createRequire } from "node:module";

const [client, port, , pattern, counter] = process.argv.slice(2);
const file = openSync(counter, "r+");
const load = createRequire(process.cwd() + "/");
const number = new BigUint64Array(1);
let handled = 0;
let written = 0;

function count() {
  handled += 1;
}

// Between two turns of its loop: a write for each message would be what is measured.
setInterval(() => {
  if (handled === written) return;
  number[0] = BigInt((written = handled));
  writeSync(file, new Uint8Array(number.buffer), 0, 8, 0);
}, 2);

if (client === "ioredis") {
  const { Redis } = load("ioredis");
  const redis = new Redis(Number(port));
  redis.on("pmessageBuffer", count);
  await redis.psubscribe(pattern);
} else {
  const { createClient } = load("redis");
  const redis = createClient({ url: `redis://127.0.0.1:${port}` });
  await redis.connect();
  await redis.pSubscribe(pattern, count, true);
}
console.log("ready");
