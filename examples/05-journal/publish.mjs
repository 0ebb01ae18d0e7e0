// publish.mjs KEY...: keep keys in the journal and publish them, from Node, with no package. With a Redis client of
// yours it is one call: client.eval(script, {keys: [STREAM], arguments: [CHANNEL, payload, "1000000"]}).
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect } from "node:net";

const STREAM = "invalidator:journal";
const CHANNEL = "cache:invalidate:users:profile";
const script = readFileSync("publish.lua", "utf8");
const url = new URL(process.env.REDIS_URL ?? "redis://127.0.0.1:6379/0");

const redis = connect({ host: url.hostname, port: Number(url.port || 6379) });
redis.setTimeout(5000, () => redis.destroy(new Error("Redis does not answer")));
await once(redis, "connect");
let unread = "";

async function line() {
  while (!unread.includes("\r\n")) unread += (await once(redis, "data"))[0];
  const [first, ...rest] = unread.split("\r\n");
  unread = rest.join("\r\n");
  return first;
}

async function reply() {
  const first = await line();
  if (first[0] === "-") throw new Error(first.slice(1));
  if (first[0] === "$") return line(); // an id: it has no line break in it
  if (first[0] !== "*") return first.slice(1);
  const items = [];
  for (let left = Number(first.slice(1)); left > 0; left -= 1) items.push(await reply());
  return items;
}

function call(...words) {
  const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
  redis.write(`*${words.length}\r\n${parts.join("")}`);
  return reply();
}

if (url.password) await call("AUTH", decodeURIComponent(url.username || "default"), decodeURIComponent(url.password));
await call("SELECT", url.pathname.slice(1) || "0");
const payload = JSON.stringify({ v: 1, source: "node", ts: Date.now() / 1000, keys: process.argv.slice(2) });
const [entry, receivers] = await call("EVAL", script, "1", STREAM, CHANNEL, payload);
console.log(`published ${process.argv.slice(2)}: ${entry} ${receivers}`);
redis.end();
