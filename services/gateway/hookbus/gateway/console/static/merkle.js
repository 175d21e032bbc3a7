// RFC 9162 in the browser: does a record lie in the tree whose root a checkpoint names. Needs no key and no trust in the
// server that sent both, only in the checkpoint.

const LEAF = 0;
const NODE = 1;

export function canCheck() {
  return globalThis.crypto?.subtle !== undefined; // absent over plain HTTP from another machine
}

async function hash(prefix, ...parts) {
  const size = parts.reduce((sum, part) => sum + part.length, 1);
  const bytes = new Uint8Array(size);
  bytes[0] = prefix;
  let at = 1;
  for (const part of parts) { bytes.set(part, at); at += part.length; }
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

const fromHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const fromBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const same = (one, other) => one.length === other.length && one.every((byte, at) => byte === other[at]);

/** A checkpoint's first three lines. */
export function parseCheckpoint(note) {
  const [origin, size, root] = note.split("\n");
  const signers = note.split("\n").filter((line) => line.startsWith("— ")).map((line) => line.split(" ")[1]);
  return { origin, size: Number(size), root, signers: [...new Set(signers)] };
}

/** Throws with the reason where the receipt proves nothing. */
export async function checkReceipt(receipt) {
  const checkpoint = parseCheckpoint(receipt.checkpoint);
  const leaf = await hash(LEAF, fromBase64(receipt.record));
  if (!same(leaf, fromHex(receipt.leaf_hash))) throw new Error("the record does not have the leaf hash that is stated");
  let index = BigInt(receipt.index);
  let last = BigInt(checkpoint.size) - 1n;
  if (index > last) throw new Error("the checkpoint does not reach this entry");
  let root = leaf;
  for (const step of receipt.proof.map(fromHex)) {
    if (last === 0n) throw new Error("the proof is too long");
    if ((index & 1n) === 1n || index === last) {
      root = await hash(NODE, step, root);
      while ((index & 1n) === 0n && index !== 0n) { index >>= 1n; last >>= 1n; }
    } else {
      root = await hash(NODE, root, step);
    }
    index >>= 1n;
    last >>= 1n;
  }
  if (last !== 0n) throw new Error("the proof is too short");
  if (!same(root, fromBase64(checkpoint.root))) throw new Error("the proof leads to another root than the checkpoint's");
  return checkpoint;
}
