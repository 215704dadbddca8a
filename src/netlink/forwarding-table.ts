// Where a bridge forwards MACs, by VLAN: all of its FDB, or what was asked for, in flat memory.

import { decodeMac, encodeMac, type IfIndex, type Mac } from '../base/address.ts';
import { readU16, readU32, writeU16, writeU32 } from '../base/bytes.ts';

/** An address that a bridge may forward. */
export interface ForwardingKey {
  /** 0: no VLAN. */
  readonly vlan: number;
  readonly mac: Mac;
}

/**
 * Whether the bridge has seen frames of a MAC within its ageing time, for an entry that it keeps in any case and whose
 * activity it tracks (NFEA_ACTIVITY_NOTIFY). zebra has it do so for the MACs of an Ethernet segment (EVPN multihoming),
 * whose hosts may send through another node.
 */
export type Activity = 'untracked' | 'active' | 'inactive';

/** An address that a bridge forwards to a port. */
export interface ForwardingEntry extends ForwardingKey {
  readonly port: IfIndex;
  /** `untracked` by default. */
  readonly activity?: Activity;
}

/** Scratch bytes for conversions between text and numbers. */
const MAC = new Uint8Array(6);
/** Initial room in entries. It is always a power of two, and there are twice as many slots. */
const FIRST_ROOM = 64;
const FREE = -1;
/** The port of an address that the bridge does not forward. No interface has this index. */
const NO_PORT = 0 as IfIndex;

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
  /** By the index of the entry; those that are not tracked, which are most or all of them, are left out. */
  readonly #activities = new Map<number, Activity>();
  /** The index of an entry, or FREE. */
  #slots = new Int32Array(FIRST_ROOM * 2).fill(FREE);

  /** False for a table of addresses that were asked for: nothing is known about others. */
  #isWhole = true;

  constructor(seed = 0) {
    this.#seed = seed;
  }

  /** A table that is to have the ports of these addresses alone. */
  static forKeys(keys: Iterable<ForwardingKey>, seed: number): ForwardingTable {
    const table = new ForwardingTable(seed);
    for (const { vlan, mac } of keys) table.push({ vlan, mac, port: NO_PORT });
    table.#isWhole = false;
    return table;
  }

  /** Adds an entry, or replaces that of the same VLAN and MAC. */
  push({ vlan, mac, port, activity = 'untracked' }: ForwardingEntry): void {
    encodeMac(mac, MAC, 0);
    const low = readU32(MAC, 2);
    const high = ((vlan << 16) | readU16(MAC, 0)) >>> 0;
    const slot = this.#slotOf(low, high);
    const known = this.#slots[slot] ?? FREE;
    if (known !== FREE) {
      this.setPortAt(known, port, activity);
      return;
    }
    const entry = this.#count++;
    this.#low[entry] = low;
    this.#high[entry] = high;
    this.setPortAt(entry, port, activity);
    this.#slots[slot] = entry;
    if (this.#count === this.#ports.length) this.#grow();
  }

  /**
   * The port to which a MAC is forwarded; undefined when the bridge does not know the MAC. Throws when this is a table of
   * other addresses: what was not looked up must not count as gone.
   */
  portOf(vlan: number, mac: Mac): IfIndex | undefined {
    const entry = this.#find(vlan, mac);
    const port = entry === FREE ? NO_PORT : (this.#ports[entry] as IfIndex);
    return port === NO_PORT ? undefined : port;
  }

  /** The activity of a MAC; `untracked` when the bridge does not know it. Throws as `portOf` does. */
  activityOf(vlan: number, mac: Mac): Activity {
    if (this.#activities.size === 0) return 'untracked';
    return this.#activities.get(this.#find(vlan, mac)) ?? 'untracked';
  }

  /** The index of an entry, or FREE. */
  #find(vlan: number, mac: Mac): number {
    encodeMac(mac, MAC, 0);
    const slot = this.#slotOf(readU32(MAC, 2), ((vlan << 16) | readU16(MAC, 0)) >>> 0);
    const entry = this.#slots[slot] ?? FREE;
    if (entry === FREE && !this.#isWhole) throw new RangeError(`${mac} in VLAN ${vlan} was not looked up`);
    return entry;
  }

  /** Number of addresses of the table, forwarded or not. Each has an index, in the order in which they were added. */
  get size(): number {
    return this.#count;
  }

  vlanAt(index: number): number {
    return (this.#high[index] ?? 0) >>> 16;
  }

  writeMacAt(index: number, bytes: Uint8Array, offset: number): void {
    writeU16(bytes, offset, (this.#high[index] ?? 0) & 0xffff);
    writeU32(bytes, offset + 2, this.#low[index] ?? 0);
  }

  setPortAt(index: number, port: IfIndex, activity: Activity): void {
    this.#ports[index] = port;
    if (activity !== 'untracked') this.#activities.set(index, activity);
    else if (this.#activities.size > 0) this.#activities.delete(index);
  }

  *[Symbol.iterator](): Iterator<ForwardingEntry> {
    for (let i = 0; i < this.#count; i++) {
      const port = this.#ports[i] as IfIndex;
      if (port === NO_PORT) continue;
      const activity = this.#activities.get(i);
      yield { ...this.#keyAt(i), port, ...(activity && { activity }) };
    }
  }

  #keyAt(entry: number): ForwardingKey {
    this.writeMacAt(entry, MAC, 0);
    return { vlan: this.vlanAt(entry), mac: decodeMac(MAC, 0) };
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
