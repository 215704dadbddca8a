// Where a bridge forwards each MAC, by VLAN: a dump of its FDB in flat memory.

import { decodeMac, encodeMac, type IfIndex, type Mac } from '../base/address.ts';
import { readU16, readU32, writeU16, writeU32 } from '../base/bytes.ts';

/** An address that a bridge forwards to a port. */
export interface ForwardingEntry {
  /** 0: no VLAN. */
  readonly vlan: number;
  readonly mac: Mac;
  readonly port: IfIndex;
}

/** Scratch bytes for conversions between text and numbers. */
const MAC = new Uint8Array(6);
/** Initial room in entries. It is always a power of two, and there are twice as many slots. */
const FIRST_ROOM = 64;
const FREE = -1;

/**
 * A hash table that keeps its entries in insertion order. There may be tens of thousands; each is looked up a few
 * times, and none needs to be an object. Guests choose their MACs, so a random seed keeps them from choosing MACs that
 * share a slot. Nothing else depends on the seed.
 */
export class ForwardingTable implements Iterable<ForwardingEntry> {
  readonly #seed: number;
  #count = 0;
  /** Last four bytes of the MAC. */
  #low = new Uint32Array(FIRST_ROOM);
  /** The VLAN, then the first two bytes of the MAC. */
  #high = new Uint32Array(FIRST_ROOM);
  #ports = new Int32Array(FIRST_ROOM);
  /** The index of an entry, or FREE. */
  #slots = new Int32Array(FIRST_ROOM * 2).fill(FREE);

  constructor(seed = 0) {
    this.#seed = seed;
  }

  /** Adds an entry, or replaces that of the same VLAN and MAC. */
  push({ vlan, mac, port }: ForwardingEntry): void {
    encodeMac(mac, MAC, 0);
    const low = readU32(MAC, 2);
    const high = ((vlan << 16) | readU16(MAC, 0)) >>> 0;
    const slot = this.#slotOf(low, high);
    const known = this.#slots[slot] ?? FREE;
    if (known !== FREE) {
      this.#ports[known] = port;
      return;
    }
    const entry = this.#count++;
    this.#low[entry] = low;
    this.#high[entry] = high;
    this.#ports[entry] = port;
    this.#slots[slot] = entry;
    if (this.#count === this.#ports.length) this.#grow();
  }

  /** The port to which a MAC is forwarded; undefined when the bridge does not know the MAC. */
  portOf(vlan: number, mac: Mac): IfIndex | undefined {
    encodeMac(mac, MAC, 0);
    const slot = this.#slotOf(readU32(MAC, 2), ((vlan << 16) | readU16(MAC, 0)) >>> 0);
    const entry = this.#slots[slot] ?? FREE;
    return entry === FREE ? undefined : (this.#ports[entry] as IfIndex);
  }

  *[Symbol.iterator](): Iterator<ForwardingEntry> {
    for (let i = 0; i < this.#count; i++) {
      const high = this.#high[i] ?? 0;
      writeU16(MAC, 0, high & 0xffff);
      writeU32(MAC, 2, this.#low[i] ?? 0);
      yield { vlan: high >>> 16, mac: decodeMac(MAC, 0), port: this.#ports[i] as IfIndex };
    }
  }

  /** The slot of the entry, or the free slot that it would get. */
  #slotOf(low: number, high: number): number {
    const mask = this.#slots.length - 1;
    let slot = mix(mix(this.#seed ^ low) ^ high) & mask;
    for (;;) {
      const entry = this.#slots[slot] ?? FREE;
      if (entry === FREE || (this.#low[entry] === low && this.#high[entry] === high)) return slot;
      slot = (slot + 1) & mask;
    }
  }

  #grow(): void {
    const room = this.#count * 2;
    this.#low = enlarged(this.#low, new Uint32Array(room));
    this.#high = enlarged(this.#high, new Uint32Array(room));
    this.#ports = enlarged(this.#ports, new Int32Array(room));
    this.#slots = new Int32Array(room * 2).fill(FREE);
    for (let i = 0; i < this.#count; i++) {
      this.#slots[this.#slotOf(this.#low[i] ?? 0, this.#high[i] ?? 0)] = i;
    }
  }
}

function enlarged<Numbers extends Uint32Array | Int32Array>(from: Numbers, to: Numbers): Numbers {
  to.set(from);
  return to;
}

/** Spreads a number over 32 bits: the finalizer of MurmurHash3, which is a bijection. */
function mix(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
